//! Reading the two ring buffers.
//!
//! Records of executions wake the reader; records of connections wait for the next execution, for a quarter-full buffer, or
//! for the timer. Their memory is the kernel's: of it only what holds unread records is mapped, and only while it is read.

mod reader;
#[cfg(test)]
mod tests;

use self::reader::{Positions, Reader};
use super::error::LoadError;
use aya::maps::{Map, MapData};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring buffer registered with the runtime.
#[derive(Debug)]
pub struct Ring {
    map: AsyncFd<RingMap>,
    reader: Reader,
}

/// How full a ring buffer is, read from the positions that both sides keep in memory: no system call, in any thread.
#[derive(Debug)]
pub struct Fill {
    positions: Arc<Positions>,
    size: u64,
}

impl Fill {
    /// Bytes of records, with their headers, that wait to be read.
    #[must_use]
    pub fn used(&self) -> u64 {
        // In this order the difference is never negative.
        let read = self.positions.read();
        self.positions.written().saturating_sub(read).min(self.size)
    }

    /// Whether all has been read that was written up to this position.
    #[must_use]
    pub fn is_read_to(&self, written: u64) -> bool {
        self.positions.read() >= written
    }

    /// Up to which position it was written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.positions.written()
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

#[derive(Debug)]
struct RingMap(MapData);

impl AsFd for RingMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd().as_fd()
    }
}

impl AsRawFd for RingMap {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.get_ref().as_fd()
    }
}

impl Ring {
    /// Takes over a ring buffer map. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the map is no ring buffer, cannot be mapped, or cannot be registered.
    pub fn new(map: Map, name: &'static str) -> Result<Self, LoadError> {
        let Map::RingBuf(data) = map else { return Err(LoadError::MapKind { name }) };
        let unusable = |reason| LoadError::MapMemory { name, reason };
        let size = data.info().map_err(|error| unusable(io::Error::other(error)))?.max_entries();
        let map = RingMap(data);
        let reader = Reader::new(map.as_fd(), size.into()).map_err(unusable)?;
        // SAFETY: the descriptor belongs to the map, which stays inside the AsyncFd until both are dropped.
        let map = unsafe { AsyncFd::register_with_interest(map, Interest::READABLE) }
            .map_err(|error| unusable(io::Error::from(error)))?;
        Ok(Self { map, reader })
    }

    /// How full it is.
    #[must_use]
    pub fn fill(&self) -> Fill {
        Fill { positions: self.reader.positions(), size: self.reader.size() }
    }

    /// Waits until there is something to read, and clears the sign of it: drain afterwards.
    ///
    /// # Errors
    ///
    /// When the runtime shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.map.readable().await?.clear_ready();
        Ok(())
    }

    /// Hands records to `each`, at most `limit` of them; whether there may be more.
    ///
    /// # Errors
    ///
    /// When there is no memory to map them, or what stands in the buffer cannot be.
    pub fn drain(&mut self, limit: usize, each: impl FnMut(&[u8])) -> io::Result<bool> {
        self.reader.drain(self.map.get_ref().as_fd(), limit, each)
    }
}
