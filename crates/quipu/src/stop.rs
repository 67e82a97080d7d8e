//! Stop strings that may span tokens: text is held back while it could still become one of them.

/// Bytes that a piece of text seldom exceeds; more only costs an allocation.
const PIECE: usize = 64;

/// Watches generated text for stop strings.
#[derive(Clone, Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    pub fn new(stops: &[String]) -> StopMatcher {
        let stops: Vec<String> = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        StopMatcher { stops, held: String::with_capacity(longest + PIECE) }
    }

    /// Takes the next piece of text and appends to `out` what is safe to show. If a stop string was met, that is the
    /// text before it, and the stop string is returned.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<&str> {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = found.min_by_key(|(at, _)| *at) {
            out.push_str(&self.held[..at]);
            self.held.clear();
            return Some(stop);
        }
        let keep = self.stops.iter().map(|stop| longest_partial(&self.held, stop)).max().unwrap_or(0);
        let safe = self.held.len() - keep;
        out.push_str(&self.held[..safe]);
        self.held.drain(..safe);
        None
    }

    /// Appends text that was held back and turned out to be ordinary.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

/// Length of the longest suffix of `text` that is a proper prefix of `stop`.
fn longest_partial(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .rev()
        .find(|at| *at > 0 && text.ends_with(&stop[..*at]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            if let Some(stop) = matcher.push(piece, &mut out) {
                assert!(stops.iter().any(|known| known == stop));
                return (out, true);
            }
        }
        matcher.finish(&mut out);
        (out, false)
    }

    #[test]
    fn stop_string_across_pieces() {
        assert_eq!(run(&["\nUser:"], &["Hi", "\n", "Us", "er: x"]), ("Hi".to_owned(), true));
    }

    #[test]
    fn held_text_is_released_when_it_does_not_match() {
        assert_eq!(run(&["abc"], &["xa", "b", "d"]), ("xabd".to_owned(), false));
        assert_eq!(run(&["abc"], &["ab"]), ("ab".to_owned(), false));
    }

    #[test]
    fn earliest_of_several_wins() {
        assert_eq!(run(&["cd", "bc"], &["abcd"]), ("a".to_owned(), true));
    }

    #[test]
    fn multibyte_prefixes_are_cut_between_characters() {
        assert_eq!(run(&["é!"], &["café", "?"]), ("café?".to_owned(), false));
        assert_eq!(run(&["é!"], &["café", "!"]), ("caf".to_owned(), true));
    }

    #[test]
    fn nothing_to_watch_for_holds_nothing() {
        assert_eq!(run(&["", ""], &["a", "b"]), ("ab".to_owned(), false));
    }
}
