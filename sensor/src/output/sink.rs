//! What an output is: a place that takes one document after the other.

use super::document::Document;
use super::spool::Tally;
use std::io;
use std::sync::Arc;

/// A place for documents, used by the thread of one queue.
pub trait Sink: Send + 'static {
    /// Hands a document over; may wait as long as it has to.
    ///
    /// # Errors
    ///
    /// When the place does not take it. It is then counted as dropped.
    fn deliver(&mut self, document: &Document) -> io::Result<()>;

    /// Opens the place anew, as after a log rotation; nothing for places that are not files.
    ///
    /// # Errors
    ///
    /// When that fails; the old one then stays in use.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more waits for now: what was taken can be brought to safety.
    ///
    /// # Errors
    ///
    /// When that fails; nothing is counted for it.
    fn rest(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// No further document comes.
    fn finish(&mut self) {}

    /// The numbers of the spool behind which the place is, if it is behind one: a document that is taken is then in the spool.
    fn spool(&self) -> Option<Arc<Tally>> {
        None
    }
}
