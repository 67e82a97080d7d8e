//! The picture as SVG.

use std::fmt::Write as _;

use super::{Timeline, family};

/// Width of one node in pixels: small graphs get more room.
const NODE_WIDTH: (f64, f64) = (4.0, 24.0);
/// Width the picture aims at.
const WIDTH: f64 = 1600.0;
/// Height of the largest chunk, and of the curve of live bytes.
const HEIGHT: f64 = 640.0;
const CURVE_HEIGHT: f64 = 120.0;
const MARGIN: f64 = 40.0;
/// Room a character of a label takes, and the least height of a labelled box.
const CHARACTER: (f64, f64) = (5.6, 10.0);

impl Timeline {
    /// An SVG document: nodes to the right, addresses upwards, one box for each tensor with its name, bytes and nodes as a
    /// tooltip; boxes of one family (the same tensor in each layer) have one colour. Below the chunks the live bytes.
    /// Names are escaped.
    pub fn to_svg(&self) -> String {
        let node_width = (WIDTH / self.n_nodes.max(1) as f64).clamp(NODE_WIDTH.0, NODE_WIDTH.1);
        let width = self.n_nodes as f64 * node_width;
        let largest = self.chunks.iter().map(|chunk| chunk.size).max().unwrap_or(1).max(1);
        let scale = HEIGHT / largest as f64;
        let heights: Vec<f64> =
            self.chunks.iter().map(|chunk| (chunk.size as f64 * scale).max(1.0)).collect();
        let total_height = heights.iter().map(|h| h + MARGIN).sum::<f64>() + CURVE_HEIGHT + 2.0 * MARGIN;

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{total_height:.0}\" \
             font-family=\"sans-serif\" font-size=\"10\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            width + 2.0 * MARGIN,
        );
        let families = self.families();
        let mut top = MARGIN;
        for (index, height) in heights.iter().enumerate() {
            let chunk = self.chunks[index];
            // Writing to a string cannot fail; the results below are dropped for the same reason.
            let _ = writeln!(
                svg,
                "<text x=\"{MARGIN}\" y=\"{:.1}\">buffer {}, chunk {}: {} bytes</text>\n\
                 <rect x=\"{MARGIN}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#f2f2f2\"/>",
                top - 6.0,
                chunk.buffer,
                chunk.index,
                chunk.size,
            );
            self.draw_boxes(&mut svg, index, top + height, scale, node_width, &families);
            top += height + MARGIN;
        }
        self.draw_curve(&mut svg, top, node_width);
        svg.push_str("</svg>\n");
        svg
    }

    /// The boxes of one chunk whose address 0 lies at `bottom`.
    fn draw_boxes(
        &self,
        svg: &mut String,
        chunk: usize,
        bottom: f64,
        scale: f64,
        node_width: f64,
        families: &[&str],
    ) {
        for r in self.residents.iter().filter(|r| r.chunk == chunk) {
            let x = MARGIN + r.life.first as f64 * node_width;
            let w = (r.life.last - r.life.first + 1) as f64 * node_width;
            let h = (r.size as f64 * scale).max(0.5);
            let y = bottom - r.offset as f64 * scale - h;
            let colour = families.iter().position(|&name| name == family(&r.name)).unwrap_or(0);
            let name = escaped(&r.name);
            // Neighbours in the list of families get hues far apart.
            let hue = colour * 137 % 360;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"hsl({hue},55%,70%)\" \
                 stroke=\"#555\" stroke-width=\"0.3\"><title>{name}\n{} bytes at {}\nnodes {} to {}</title></rect>",
                r.size, r.offset, r.life.first, r.life.last,
            );
            let length = r.name.chars().count() as f64 * CHARACTER.0;
            if w > length + 2.0 && h > CHARACTER.1 {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" pointer-events=\"none\">{name}</text>",
                    x + 2.0,
                    y + h / 2.0 + 3.5,
                );
            } else if h > length + 2.0 && w > CHARACTER.1 {
                let (x, y) = (x + w / 2.0 + 3.5, y + h - 2.0);
                let _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" transform=\"rotate(-90 {x:.1} {y:.1})\" \
                     pointer-events=\"none\">{name}</text>",
                );
            }
        }
    }

    /// Live bytes at each node, with the most marked.
    fn draw_curve(&self, svg: &mut String, top: f64, node_width: f64) {
        let Some((node, most)) = self.peak() else { return };
        let bottom = top + CURVE_HEIGHT;
        let _ =
            write!(svg, "<path fill=\"#cde\" stroke=\"#357\" stroke-width=\"0.6\" d=\"M{MARGIN} {bottom:.1}");
        for (i, &bytes) in self.live.iter().enumerate() {
            let y = bottom - bytes as f64 / most.max(1) as f64 * CURVE_HEIGHT;
            let _ = write!(svg, "V{y:.1}H{:.1}", MARGIN + (i + 1) as f64 * node_width);
        }
        let _ = writeln!(
            svg,
            "V{bottom:.1}Z\"/>\n<text x=\"{MARGIN}\" y=\"{:.1}\">live bytes, at most {most} at node {node}</text>\n\
             <text x=\"{MARGIN}\" y=\"{:.1}\">nodes 0 to {}</text>",
            top - 6.0,
            bottom + 14.0,
            self.n_nodes - 1,
        );
    }
}

/// As text of an XML document, which knows no control characters.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
