//! The two buffers of a running sensor, and the order in which they are read.
//!
//! Executions are taken out first and handled last: whatever connection one of them followed is then in the other buffer, and is
//! known with all that its own record holds. An execution brings its connection along, so where there is more than can be handled at
//! once, it is executions that are read.

use crate::kernel::ring::Ring;
use crate::pipeline::Pipeline;
use std::io;

/// Bytes of executions that are taken out at a time: the default buffer as a whole.
const BATCH_BYTES: usize = 4 << 20;
/// Executions that are looked for at a time, until there are so many bytes; 13 KB each at most.
const BATCH: usize = 64;
/// Connections that are handled before the executions get their turn: more than the default buffer holds.
const MOST_CONNECTIONS: usize = 4096;
/// The same while executions are waiting.
const SOME_CONNECTIONS: usize = 256;
/// Memory for executions that is kept from one time to the next.
const KEPT_BYTES: usize = 256 << 10;

/// The buffers.
pub(super) struct Rings {
    connections: Ring,
    executions: Ring,
    taken: Taken,
}

/// Records one behind the other.
#[derive(Debug, Default)]
struct Taken {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Taken {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        begins.zip(&self.ends).filter_map(|(begin, end)| self.bytes.get(begin..*end))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_BYTES / size_of::<usize>());
    }
}

impl Rings {
    /// Of connections and of executions.
    pub(super) fn new(connections: Ring, executions: Ring) -> Self {
        Self { connections, executions, taken: Taken::default() }
    }

    /// Waits until there is something to read in one of them.
    pub(super) async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            biased;
            result = self.executions.readable() => result,
            result = self.connections.readable() => result,
        }
    }

    /// Hands what they hold to the pipeline, of executions those that are `wanted`; whether there may be more.
    ///
    /// # Errors
    /// See [`Ring::drain`].
    pub(super) fn drain(&mut self, pipeline: &mut Pipeline, mut wanted: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let Self { connections, executions, taken } = self;
        let mut more_executions = Ok(true);
        while matches!(more_executions, Ok(true)) && taken.bytes.len() < BATCH_BYTES {
            more_executions = executions.drain(BATCH, |record| taken.push(record));
        }
        let most = if matches!(more_executions, Ok(true)) { SOME_CONNECTIONS } else { MOST_CONNECTIONS };
        let more_connections = connections.drain(most, |record| pipeline.connection_record(record));
        taken.records().filter(|record| wanted(record)).for_each(|record| pipeline.exec_record(record));
        taken.clear();
        // What was taken out is handled, whatever failed.
        Ok(more_executions? | more_connections?)
    }
}

/// Nothing more is read from buffers that cannot be.
#[expect(clippy::needless_pass_by_value, reason = "what a failed result is handed to")]
pub(super) fn given_up(error: io::Error) -> bool {
    tracing::error!("what is left in the ring buffers is lost: {error}");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_and_leave_no_memory_behind() {
        let mut taken = Taken::default();
        for round in 0..3 {
            let records: Vec<Vec<u8>> = (0..1000_usize).map(|n| vec![round; n % 700]).collect();
            records.iter().for_each(|record| taken.push(record));
            assert!(taken.records().eq(records.iter().map(Vec::as_slice)));
            taken.clear();
            assert_eq!(taken.records().count(), 0);
            assert!(taken.bytes.capacity() <= KEPT_BYTES);
        }
    }
}
