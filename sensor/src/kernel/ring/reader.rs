//! The records of a ring buffer, as the kernel's `kernel/bpf/ringbuf.c` lays them out.
//!
//! Behind the page with the position up to which it was read and the page with the position up to which it was written, the data
//! lies twice, one copy behind the other, so that each record is in one piece. Positions only grow; a record's place is its
//! position modulo the size. It begins with a word that holds its length and two bits: whether it is still being written, and
//! whether it was given up.
//!
//! Mapped pages count as this process's memory, the second copy as much as the first: a window of the data is mapped while there
//! is something to read in it.

use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// `BPF_RINGBUF_BUSY_BIT`: the record is still being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: the record was given up.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`: the word with the length, and one of the kernel's own.
pub(super) const HEADER: u64 = 8;
/// What is mapped at a time, unless a single record is longer: enough that mapping does not count beside what a record costs.
const WINDOW: u64 = 256 << 10;

/// The words in which both sides keep how far they are.
#[derive(Debug)]
pub(super) struct Positions {
    consumer: MmapRaw,
    producer: MmapRaw,
}

impl Positions {
    fn map(map: BorrowedFd<'_>, page: u64) -> io::Result<Self> {
        let first = options(0, page)?.map_raw(map.as_raw_fd())?;
        let second = options(page, page)?.map_raw_read_only(map.as_raw_fd())?;
        Ok(Self { consumer: first, producer: second })
    }

    /// Up to where it was read.
    pub(super) fn read(&self) -> u64 {
        word(&self.consumer).load(Ordering::Acquire)
    }

    /// Up to where records were begun. What the kernel has written before, headers included, is seen behind this.
    pub(super) fn written(&self) -> u64 {
        word(&self.producer).load(Ordering::Acquire)
    }

    /// The kernel may write over what lies before.
    fn set_read(&self, position: u64) {
        word(&self.consumer).store(position, Ordering::Release);
    }
}

fn word(page: &MmapRaw) -> &AtomicU64 {
    // SAFETY: a whole page is mapped for as long as `page` lives; the position is the aligned word at its beginning, which either
    // side writes as a whole. It is only stored to where the page may be written.
    unsafe { &*page.as_ptr().cast::<AtomicU64>() }
}

/// Reads one ring buffer; there must be no other reader.
#[derive(Debug)]
pub(super) struct Reader {
    positions: Arc<Positions>,
    size: u64,
    page: u64,
    position: u64,
    /// It was moved on since the last look at whether there is more.
    moved: bool,
}

/// A part of the data.
struct Window {
    memory: MmapRaw,
    /// Position of its first byte.
    from: u64,
    /// Bytes.
    len: u64,
}

impl Window {
    /// Where a position is in memory, if so many bytes behind it are.
    fn at(&self, position: u64, bytes: u64) -> Option<*const u8> {
        let place = position.checked_sub(self.from)?;
        let inside = place.checked_add(bytes)? <= self.len;
        let place = usize::try_from(place).ok().filter(|_| inside)?;
        // SAFETY: as many bytes are mapped, and more.
        Some(unsafe { self.memory.as_ptr().add(place) })
    }
}

/// What stands at a position.
enum Next {
    Nothing,
    Discarded { after: u64 },
    Record { len: usize, after: u64 },
}

impl Reader {
    /// Of the ring buffer map with `size` bytes of data.
    pub(super) fn new(map: BorrowedFd<'_>, size: u64) -> io::Result<Self> {
        let page = rustix::param::page_size() as u64;
        if !size.is_power_of_two() || size < page {
            return Err(io::Error::other(format!("{size} bytes are no size of a ring buffer")));
        }
        let positions = Positions::map(map, page)?;
        let position = positions.read();
        Ok(Self { positions: Arc::new(positions), size, page, position, moved: true })
    }

    pub(super) fn positions(&self) -> Arc<Positions> {
        Arc::clone(&self.positions)
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// See [`super::Ring::drain`].
    pub(super) fn drain(&mut self, map: BorrowedFd<'_>, limit: usize, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut window = None;
        let mut handed = 0;
        while handed < limit {
            let after = match self.next(map, &mut window)? {
                // A record that comes now finds the new position and sends a sign, or is seen by a second look.
                Next::Nothing if self.moved => {
                    fence(Ordering::SeqCst);
                    self.moved = false;
                    continue;
                }
                Next::Nothing => return Ok(false),
                Next::Discarded { after } => after,
                Next::Record { len, after } => {
                    let record = self.at(map, &mut window, self.position + HEADER, len as u64)?;
                    // SAFETY: so many bytes are mapped there until the window becomes another, and the kernel does not write to them
                    // before the position is moved on.
                    each(unsafe { std::slice::from_raw_parts(record, len) });
                    handed += 1;
                    after
                }
            };
            self.position = after;
            self.positions.set_read(after);
            self.moved = true;
        }
        Ok(true)
    }

    fn next(&self, map: BorrowedFd<'_>, window: &mut Option<Window>) -> io::Result<Next> {
        let waiting = self.positions.written().wrapping_sub(self.position);
        if waiting == 0 {
            return Ok(Next::Nothing);
        }
        if waiting > self.size || !self.position.is_multiple_of(HEADER) {
            return Err(self.damaged());
        }
        let header = self.at(map, window, self.position, HEADER)?;
        // SAFETY: eight bytes are mapped there, at a multiple of eight; the kernel writes the first word of them as a whole.
        let header = unsafe { &*header.cast::<AtomicU32>() };
        // The kernel clears the bit behind all that it writes to the record.
        let header = header.load(Ordering::Acquire);
        if header & BUSY != 0 {
            return Ok(Next::Nothing);
        }
        let len = (header & !DISCARDED) as usize;
        let whole = (HEADER + len as u64).next_multiple_of(HEADER);
        if whole > waiting {
            return Err(self.damaged());
        }
        let after = self.position + whole;
        Ok(if header & DISCARDED == 0 { Next::Record { len, after } } else { Next::Discarded { after } })
    }

    /// Where a position is in memory, with so many bytes behind it that have been written; if they are not in the window, that becomes
    /// another.
    fn at(&self, map: BorrowedFd<'_>, window: &mut Option<Window>, position: u64, len: u64) -> io::Result<*const u8> {
        let place = |window: &Window| window.at(position, len);
        if let Some(at) = window.as_ref().and_then(place) {
            return Ok(at);
        }
        window.insert(self.window(map, position, len)?).at(position, len).ok_or_else(|| self.damaged())
    }

    /// Maps what is waiting from a position on: so much at least, and not much more than is usual.
    fn window(&self, map: BorrowedFd<'_>, position: u64, least: u64) -> io::Result<Window> {
        let from = position - position % self.page;
        let waiting = self.positions.written().wrapping_sub(from).min(WINDOW);
        let len = waiting.max(position - from + least).next_multiple_of(self.page);
        // Two pages of positions stand before the data. What runs over its end is in the second copy.
        let memory = options(2 * self.page + from % self.size, len)?.map_raw_read_only(map.as_raw_fd())?;
        Ok(Window { memory, from, len })
    }

    fn damaged(&self) -> io::Error {
        let what = format!("what stands in a ring buffer at {} is no record", self.position);
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

/// A part of a file.
fn options(offset: u64, len: u64) -> io::Result<MmapOptions> {
    let mut options = MmapOptions::new();
    options.offset(offset).len(usize::try_from(len).map_err(io::Error::other)?);
    Ok(options)
}
