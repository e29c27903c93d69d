//! The arguments of a program, which whoever runs it chooses.

use crate::record::{check, origin};
use bytemuck::Zeroable as _;
use sensor::event::decode::{ELLIPSIS, exec};
use sensor::event::ecs::Extras;
use sensor::event::facts::Field;
use sensor::event::{Args, BootTime};
use sensor_common::record::{ExecRecord, FLAG_ARGV_UNREADABLE, FLAG_I, FLAG_L, FLAG_UNSEARCHED};

/// Flags, number of arguments, and argv itself: the first byte is the record's flags, the second says how many bytes of
/// argv were not copied, the third is argc, and the rest is what was copied. Taken all the way: there are arguments.
pub fn argv(data: &[u8]) -> bool {
    let [flags, beyond, argc, argv @ ..] = data else { return false };
    let mut header = ExecRecord::zeroed();
    header.flags = u32::from(*flags);
    header.argc = u32::from(*argc);
    header.argv_len = u32::try_from(argv.len()).expect("a short input");
    header.argv_total = argv.len() as u64 + u64::from(*beyond);
    let record = [bytemuck::bytes_of(&header), argv].concat();
    let event = exec(&record).expect("a record as the kernel side writes it");
    let Args { copied, count, truncated, found_beyond, unsearched, redacted } = &event.args;

    assert!(!redacted, "the kernel side knows no secrets");
    assert_eq!(*count, header.argc);
    assert_eq!(*unsearched, header.flags & FLAG_UNSEARCHED != 0);
    assert_eq!(*truncated, *beyond > 0 || header.flags & FLAG_ARGV_UNREADABLE != 0);
    assert_eq!(joined(copied, argv.last() == Some(&0)), argv, "{copied:?}");

    // What stands in the document is what rules search: a flag is there if it is an argument, or was found farther on.
    let whole = whole(argv);
    let document = origin().exec(&event, 42, &Extras::default());
    check(&document, BootTime(0), |facts| {
        for (bit, flag) in [(FLAG_I, "-i"), (FLAG_L, "-l")] {
            let argument = whole.contains(&flag.as_bytes());
            let found = header.flags & bit != 0 && !whole.iter().skip(1).any(|one| *one == flag.as_bytes());
            assert_eq!(found_beyond.contains(&flag), found);
            assert_eq!(facts.values(Field::Args).any(|value| value == flag), argument || found, "{flag} in {copied:?}");
        }
    });
    !copied.is_empty()
}

/// The bytes that the arguments were taken from.
fn joined(copied: &[Vec<u8>], ended: bool) -> Vec<u8> {
    let mut bytes = copied.join(&0);
    if ended {
        bytes.push(0);
    } else if !copied.is_empty() {
        assert!(bytes.ends_with(ELLIPSIS.as_bytes()), "an argument that was cut is not marked");
        bytes.truncate(bytes.len() - ELLIPSIS.len());
    }
    bytes
}

/// The arguments that are there to their end.
fn whole(argv: &[u8]) -> Vec<&[u8]> {
    argv.split_inclusive(|byte| *byte == 0).filter_map(|argument| argument.strip_suffix(&[0])).collect()
}
