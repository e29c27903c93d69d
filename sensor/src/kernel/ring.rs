//! Reading the two ring buffers.
//!
//! Records of executions wake the reader; records of connections wait for the next execution, for a quarter-full buffer, or
//! for the timer.

use super::error::LoadError;
use aya::maps::{Map, MapData, RingBuf};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring buffer registered with the runtime.
#[derive(Debug)]
pub struct Ring {
    buffer: AsyncFd<Buffer>,
}

struct Buffer(RingBuf<MapData>);

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buffer").field(&self.0.as_raw_fd()).finish()
    }
}

impl AsRawFd for Buffer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Ring {
    /// Takes over a ring buffer map. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the map is no ring buffer, or cannot be registered.
    pub fn new(map: Map, name: &'static str) -> Result<Self, LoadError> {
        let buffer = RingBuf::try_from(map).map_err(|_| LoadError::MapKind { name })?;
        // SAFETY: the descriptor belongs to the buffer, which stays inside the AsyncFd until both are dropped.
        let buffer = unsafe { AsyncFd::register_with_interest(Buffer(buffer), Interest::READABLE) }
            .map_err(|error| LoadError::MapMemory { name, source: io::Error::from(error) })?;
        Ok(Self { buffer })
    }

    /// Waits until there is something to read, and clears the sign of it: drain afterwards.
    ///
    /// # Errors
    ///
    /// When the runtime shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.buffer.readable().await?.clear_ready();
        Ok(())
    }

    /// Hands records to `each`, at most `limit` of them; whether there may be more.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> bool {
        for _ in 0..limit {
            match self.buffer.get_mut().0.next() {
                Some(record) => each(&record),
                None => return false,
            }
        }
        true
    }
}
