//! A way to a far end that can be exchanged for another while documents wait for it.

use super::remote::{Failure, Transport, Verdict};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Where another way is put.
#[derive(Clone, Default)]
pub struct Switch(Arc<Mutex<Option<Box<dyn Transport>>>>);

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switch")
    }
}

impl Switch {
    /// A way to begin with, and the place for others.
    pub fn new(first: impl Transport) -> (Switched, Self) {
        let switch = Self::default();
        (Switched { current: Box::new(first), switch: switch.clone() }, switch)
    }

    /// Puts another way there: it is taken from the next try on. Never waits for one that is under way.
    pub fn put(&self, next: impl Transport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(next));
    }
}

/// The way that is taken now.
pub struct Switched {
    current: Box<dyn Transport>,
    switch: Switch,
}

impl Transport for Switched {
    fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
        let next = self.switch.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            self.current = next;
        }
        self.current.send(documents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct To(&'static str);

    impl Transport for To {
        fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
            Ok(vec![Verdict::Rejected(self.0.to_owned()); documents.len()])
        }
    }

    #[test]
    fn another_way_is_taken_from_the_next_try_on() {
        let (mut switched, switch) = Switch::new(To("a"));
        let mut sent_to = || switched.send(&["document"]).unwrap();
        assert_eq!(sent_to(), [Verdict::Rejected("a".to_owned())]);
        switch.put(To("b"));
        switch.put(To("c"));
        assert_eq!(sent_to(), [Verdict::Rejected("c".to_owned())]);
        assert_eq!(sent_to(), [Verdict::Rejected("c".to_owned())]);
    }
}
