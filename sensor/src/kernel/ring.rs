//! Reading the two ring buffers.
//!
//! Records of executions wake the reader; records of connections wait for the next execution, for a quarter-full buffer, or
//! for the timer.

use super::error::LoadError;
use aya::maps::{Map, MapData, RingBuf};
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A ring buffer registered with the runtime.
#[derive(Debug)]
pub struct Ring {
    buffer: AsyncFd<Buffer>,
}

/// How full a ring buffer is, read from the positions that both sides keep in memory: no system call, in any thread.
#[derive(Debug)]
pub struct Fill {
    consumer: MmapRaw,
    producer: MmapRaw,
    size: u64,
}

impl Fill {
    /// Bytes of records, with their headers, that wait to be read.
    #[must_use]
    pub fn used(&self) -> u64 {
        // In this order the difference is never negative.
        let consumed = position(&self.consumer);
        position(&self.producer).saturating_sub(consumed).min(self.size)
    }

    /// Whether all has been read that was written up to this position.
    #[must_use]
    pub fn is_read_to(&self, written: u64) -> bool {
        position(&self.consumer) >= written
    }

    /// Up to which position it was written.
    #[must_use]
    pub fn written(&self) -> u64 {
        position(&self.producer)
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

fn position(page: &MmapRaw) -> u64 {
    // SAFETY: a whole page is mapped for as long as `page` lives; the position is the aligned word at its beginning, which the
    // other side writes as a whole.
    unsafe { &*page.as_ptr().cast::<AtomicU64>() }.load(Ordering::Acquire)
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

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.buffer.as_fd()
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
            .map_err(|error| LoadError::MapMemory { name, reason: io::Error::from(error) })?;
        Ok(Self { buffer })
    }

    /// How full it is; `size` is that of the map, in bytes.
    ///
    /// # Errors
    ///
    /// When its positions cannot be mapped: the consumer's is in the first page and the producer's in the second.
    pub fn fill(&self, size: u32) -> io::Result<Fill> {
        let page = rustix::param::page_size();
        let position = |number: usize| {
            let mut options = MmapOptions::new();
            options.len(page).offset((number * page) as u64).map_raw_read_only(self.buffer.as_raw_fd())
        };
        Ok(Fill { consumer: position(0)?, producer: position(1)?, size: size.into() })
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
