//! Ring buffers in a file, laid out as the kernel maps them.

use super::reader::{HEADER, Reader};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// The kernel's end of one.
struct Kernel {
    file: File,
    size: u64,
    page: u64,
    written: u64,
}

impl Kernel {
    /// Of so many pages, read and written up to this position.
    fn new(pages: u64, position: u64) -> Self {
        let (file, page) = (tempfile::tempfile().unwrap(), rustix::param::page_size() as u64);
        let size = pages * page;
        file.set_len(2 * page + 2 * size).unwrap();
        file.write_all_at(&position.to_ne_bytes(), 0).unwrap();
        let kernel = Self { file, size, page, written: position };
        kernel.publish(position);
        kernel
    }

    fn reader(&self) -> Reader {
        Reader::new(self.file.as_fd(), self.size).unwrap()
    }

    /// Bytes at a position, in both copies of the data.
    fn store(&self, position: u64, bytes: &[u8]) {
        let place = position % self.size;
        let (here, over_the_end) = bytes.split_at(bytes.len().min(usize::try_from(self.size - place).unwrap()));
        for copy in 0..2 {
            let begin = 2 * self.page + copy * self.size;
            self.file.write_all_at(here, begin + place).unwrap();
            self.file.write_all_at(over_the_end, begin).unwrap();
        }
    }

    fn publish(&self, position: u64) {
        self.file.write_all_at(&position.to_ne_bytes(), self.page).unwrap();
    }

    fn header(&self, position: u64, header: u32) {
        self.store(position, &header.to_ne_bytes());
    }

    /// Writes a record with these bits in its header; its position.
    fn record(&mut self, bits: u32, bytes: &[u8]) -> u64 {
        let position = self.written;
        let len = u32::try_from(bytes.len()).unwrap();
        self.header(position, len | bits);
        self.store(position + HEADER, bytes);
        self.written += (HEADER + u64::from(len)).next_multiple_of(HEADER);
        self.publish(self.written);
        position
    }

    fn read(&self) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        u64::from_ne_bytes(bytes)
    }

    /// What a reader is handed of at most so many, and whether there may be more.
    fn drain(&self, reader: &mut Reader, limit: usize) -> (Vec<Vec<u8>>, bool) {
        let mut records = Vec::new();
        let more = reader.drain(self.file.as_fd(), limit, |record| records.push(record.to_vec())).unwrap();
        (records, more)
    }
}

/// Parts of this process's memory that belong to a file.
fn mapped(file: &File) -> usize {
    use std::os::unix::fs::MetadataExt as _;
    let inode = file.metadata().unwrap().ino().to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count()
}

#[test]
fn records_are_handed_over_in_order_and_no_more_than_wanted() {
    let mut kernel = Kernel::new(1, 0);
    let mut reader = kernel.reader();
    assert_eq!(kernel.drain(&mut reader, 9), (vec![], false));
    let records: Vec<Vec<u8>> = (0..5_u8).map(|number| vec![number; usize::from(number) * 5]).collect();
    for record in &records {
        kernel.record(0, record);
    }
    assert_eq!(kernel.drain(&mut reader, 3), (records[..3].to_vec(), true));
    assert_eq!(kernel.read(), 8 + 16 + 24);
    assert_eq!(kernel.drain(&mut reader, 3), (records[3..].to_vec(), false));
    assert_eq!(kernel.read(), kernel.written);
}

#[test]
fn records_over_the_end_of_the_buffer_are_in_one_piece() {
    let mut kernel = Kernel::new(2, 0);
    let mut reader = kernel.reader();
    for round in 0..200_u64 {
        let bytes: Vec<u8> = (0..1000 + round * 7).map(|byte| (byte % 251) as u8).collect();
        kernel.record(0, &bytes);
        assert_eq!(kernel.drain(&mut reader, 9), (vec![bytes], false), "{round}");
    }
    assert!(kernel.written > 40 * kernel.size);
    // The whole buffer, read in one go from somewhere in its middle.
    let bytes = vec![7; usize::try_from(kernel.size / 2 - HEADER).unwrap()];
    kernel.record(0, &bytes);
    kernel.record(0, &bytes);
    assert_eq!(kernel.drain(&mut reader, 9), (vec![bytes.clone(), bytes], false));
}

#[test]
fn more_than_a_window_is_read_and_nothing_of_the_data_stays_mapped() {
    let mut kernel = Kernel::new(256, 40);
    let mut reader = kernel.reader();
    let positions = mapped(&kernel.file);
    let records: Vec<Vec<u8>> = (0..6_u8).map(|number| vec![number; 150_000]).collect();
    for record in &records {
        kernel.record(0, record);
    }
    let mut most = 0;
    let mut handed = Vec::new();
    let each = |record: &[u8]| {
        most = most.max(mapped(&kernel.file));
        handed.push(record.to_vec());
    };
    assert!(!reader.drain(kernel.file.as_fd(), 9, each).unwrap());
    assert!(handed == records);
    assert_eq!((most, mapped(&kernel.file)), (positions + 1, positions));
    // One record that is longer than a window.
    kernel.record(0, &vec![9; 400_000]);
    assert!(kernel.drain(&mut reader, 9) == (vec![vec![9; 400_000]], false));
}

#[test]
fn nothing_is_read_beyond_a_record_that_is_being_written() {
    let mut kernel = Kernel::new(1, 0);
    let mut reader = kernel.reader();
    kernel.record(0, b"first");
    let busy = kernel.record(BUSY, b"second");
    kernel.record(0, b"third");
    assert_eq!(kernel.drain(&mut reader, 9), (vec![b"first".to_vec()], false));
    assert_eq!(kernel.read(), busy);
    kernel.header(busy, 6);
    assert_eq!(kernel.drain(&mut reader, 9), (vec![b"second".to_vec(), b"third".to_vec()], false));
}

#[test]
fn what_was_given_up_is_passed_over_and_not_counted() {
    let mut kernel = Kernel::new(1, 0);
    let mut reader = kernel.reader();
    for bytes in [b"a", b"b", b"c"] {
        kernel.record(DISCARDED, bytes);
        kernel.record(0, bytes);
    }
    kernel.record(DISCARDED, b"last");
    assert_eq!(kernel.drain(&mut reader, 2), (vec![b"a".to_vec(), b"b".to_vec()], true));
    assert_eq!(kernel.drain(&mut reader, 2), (vec![b"c".to_vec()], false));
    assert_eq!(kernel.read(), kernel.written);
}

#[test]
fn a_reader_goes_on_where_the_one_before_has_stopped() {
    let mut kernel = Kernel::new(1, 4096);
    kernel.record(0, b"first");
    kernel.record(0, b"second");
    assert_eq!(kernel.drain(&mut kernel.reader(), 1), (vec![b"first".to_vec()], true));
    assert_eq!(kernel.drain(&mut kernel.reader(), 9), (vec![b"second".to_vec()], false));
}

#[test]
fn what_is_no_record_ends_the_reading_and_what_stood_before_it_is_handed_over() {
    type Damage = fn(&Kernel);
    let damage: [(&str, Damage); 4] = [
        ("longer than what is written", |kernel| kernel.header(kernel.written - 8, 1)),
        ("longer than the buffer", |kernel| kernel.header(kernel.written - 8, DISCARDED - 1)),
        ("more written than there is room for", |kernel| kernel.publish(16 + kernel.size + 8)),
        ("less written than read", |kernel| kernel.publish(8)),
    ];
    for (what, damage) in damage {
        let mut kernel = Kernel::new(1, 0);
        let mut reader = kernel.reader();
        kernel.record(0, b"whole");
        assert_eq!(kernel.drain(&mut reader, 9).0, [b"whole".to_vec()], "{what}");
        kernel.record(0, b"");
        damage(&kernel);
        for _ in 0..2 {
            let mut handed = 0;
            let error = reader.drain(kernel.file.as_fd(), 9, |_| handed += 1).unwrap_err();
            assert_eq!((error.kind(), handed, kernel.read()), (ErrorKind::InvalidData, 0, 16), "{what}");
        }
    }
    // Nor is a position where none can begin.
    let kernel = Kernel::new(1, 4);
    kernel.publish(16);
    let error = kernel.reader().drain(kernel.file.as_fd(), 9, |_| panic!()).unwrap_err();
    assert_eq!(error.to_string(), "what stands in a ring buffer at 4 is no record");
    for size in [0, 1, 12_288] {
        assert!(Reader::new(kernel.file.as_fd(), size).is_err(), "{size}");
    }
}
