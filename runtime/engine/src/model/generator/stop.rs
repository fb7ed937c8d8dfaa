//! Stop texts: an answer ends before the first of them. Text that may be the beginning of one is held back until it is clear.

/// What became of a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Text that can be shown.
    pub text: String,
    /// A stop text was found behind it.
    pub stopped: bool,
}

#[derive(Debug, Default)]
pub struct StopText {
    stops: Vec<String>,
    held: String,
}

impl StopText {
    /// Empty stop texts are left out: they would stop everything.
    pub fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Takes the next piece of an answer.
    pub fn push(&mut self, piece: &str) -> Stopped {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(at) = found.min() {
            self.held.truncate(at);
            return Stopped {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let text = self.held.drain(..self.clear()).collect();
        Stopped {
            text,
            stopped: false,
        }
    }

    /// The answer is over: what was held back is no stop text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes in front of the longest end that a stop text begins with.
    fn clear(&self) -> usize {
        let begins = |end: &str| self.stops.iter().any(|stop| stop.starts_with(end));
        let starts = self.held.char_indices().map(|(start, _)| start);
        starts
            .filter(|&start| begins(&self.held[start..]))
            .min()
            .unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[String], pieces: &[String]) -> (String, bool) {
        let mut stop = StopText::new(stops.to_vec());
        let mut shown = String::new();
        for piece in pieces {
            let next = stop.push(piece);
            shown.push_str(&next.text);
            if next.stopped {
                return (shown, true);
            }
        }
        shown.push_str(&stop.finish());
        (shown, false)
    }

    proptest! {
        #[test]
        fn an_answer_ends_before_its_first_stop_text_however_it_is_cut_into_pieces(
            stops in prop::collection::vec("[abé]{1,3}", 0..3),
            pieces in prop::collection::vec("[abcé]{0,3}", 0..10),
        ) {
            let whole = pieces.concat();
            let (shown, stopped) = run(&stops, &pieces);
            let first = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min();
            prop_assert_eq!(stopped, first.is_some());
            if stops.len() <= 1 {
                prop_assert_eq!(&shown, &whole[..first.unwrap_or(whole.len())]);
            }
            prop_assert!(whole.starts_with(&shown));
            prop_assert!(stops.iter().all(|stop| !shown.contains(stop.as_str())));
        }
    }
}
