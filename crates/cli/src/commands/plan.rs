//! `quipu inspect --plan`: the memory plan of a model's graph.

use std::io::Write;
use std::path::{Path, PathBuf};

use quipu::gguf::Inputs;
use quipu::{MemoryPlan, Model, PlanOptions};

use crate::fail::{Failure, writing};
use crate::output::Output;

/// The flags that belong to `--plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Show where every tensor of the decode graph lies in memory, and when.
    #[arg(long)]
    plan: bool,
    /// Also draw the plan.
    #[arg(long, value_name = "OUT", requires = "plan")]
    svg: Option<PathBuf>,
    /// Context length to plan for; 0 = the model's, at most 4096.
    #[arg(long, default_value_t = 0, requires = "plan")]
    n_ctx: usize,
    /// Tokens computed at once.
    #[arg(long, default_value_t = 1, requires = "plan")]
    ubatch: usize,
    /// Plan offline, with less memory than llama.cpp's plan.
    #[arg(long, requires = "plan")]
    offline: bool,
}

impl PlanArgs {
    pub fn is_wanted(&self) -> bool {
        self.plan
    }
}

/// Plans the graph of the model in `file`, or of the embedded one.
pub(crate) fn run(file: Option<&Path>, args: &PlanArgs) -> Result<(), Failure> {
    let mut inputs = Inputs::new();
    if let Some(path) = file {
        inputs.add_model(path);
    }
    let drawing = args.svg.as_deref().map(|path| Output::create(path, &inputs)).transpose()?;
    let model = match file {
        Some(path) => Model::open(path)?,
        None => Model::embedded()?,
    };
    let options = PlanOptions { n_ctx: args.n_ctx, n_tokens: args.ubatch, offline: args.offline };
    let plan = model.plan_memory(&options)?;
    if let Some(mut drawing) = drawing {
        drawing.write_all(plan.timeline.to_svg().as_bytes()).map_err(|error| drawing.failed(error))?;
        drawing.finish()?;
    }
    print(&mut std::io::stdout().lock(), model.name(), &plan).map_err(writing)
}

fn print(out: &mut impl Write, name: &str, plan: &MemoryPlan) -> std::io::Result<()> {
    let ratio = |bytes: u64| bytes as f64 / plan.lower_bound.max(1) as f64;
    writeln!(out, "{name}: {} tokens, context of {}", plan.n_tokens, plan.n_ctx)?;
    writeln!(out, "lower bound  {:>14} bytes", plan.lower_bound)?;
    writeln!(out, "greedy plan  {:>14} bytes, {:.3} of it", plan.greedy_bytes, ratio(plan.greedy_bytes))?;
    writeln!(out, "offline plan {:>14} bytes, {:.3} of it\n", plan.offline_bytes, ratio(plan.offline_bytes))?;
    write!(out, "{}", plan.timeline)
}
