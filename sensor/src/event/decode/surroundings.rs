//! What a record tells of an execution beyond what rules ask for.

use super::{DecodeError, executable};
use crate::event::surroundings::{Device, File, Surroundings};
use crate::event::{Executable, PathState};
use sensor_common::record::{
    self, KNOWN_FILE, KNOWN_LINKED, KNOWN_SESSION, KNOWN_TTY, KNOWN_UNLINKED, PATH_WHOLE, PathPart,
};

/// From the header's part, the bytes of the ancestors' paths and of the directory's, and the environment.
pub(super) fn surroundings(
    header: &record::Surroundings,
    ancestors: &[&[u8]],
    directory: &[u8],
    environment: &[u8],
) -> Result<Surroundings, DecodeError> {
    let known = |bit: u32| header.known & bit != 0;
    let ancestors = header.ancestors.iter().zip(ancestors).map(|(part, path)| executable(*part, path));
    let removed = if known(KNOWN_LINKED) { Some(false) } else { known(KNOWN_UNLINKED).then_some(true) };
    Ok(Surroundings {
        file: known(KNOWN_FILE).then(|| File {
            inode: header.inode,
            device: Device::from_kernel(header.device),
            uid: header.uid,
            gid: header.gid,
            // The type stands above.
            mode: (header.mode & 0o7777) as u16,
        }),
        removed,
        directory: place(header.directory, directory)?,
        session: (known(KNOWN_SESSION) && header.session != 0).then_some(header.session),
        terminal: known(KNOWN_TTY).then(|| (header.tty != 0).then(|| Device::from_kernel(header.tty))),
        ancestors: ancestors.collect::<Result<_, _>>()?,
        environment: variables(environment),
        environment_cut: (environment.len() as u64) < header.environment_total,
    })
}

/// A directory; that of no component is the root.
fn place(part: PathPart, components: &[u8]) -> Result<Option<Executable>, DecodeError> {
    let mut place = executable(part, components)?;
    if part.state == PATH_WHOLE && components.is_empty() {
        place = Executable { name: Vec::new(), path: b"/".to_vec(), state: PathState::Whole };
    }
    Ok((place.state != PathState::Unknown).then_some(place))
}

/// Each ends in a zero. What is left of a cut one is no value.
fn variables(environment: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
    pieces.pop();
    pieces.into_iter().filter(|variable| !variable.is_empty()).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use sensor_common::record::PATH_UNREADABLE;

    fn decoded(header: record::Surroundings, directory: &[u8], environment: &[u8]) -> Surroundings {
        let ancestors: [&[u8]; record::ANCESTOR_PATHS] = [b"sshd\0bin\0", b"", b"", b""];
        surroundings(&header, &ancestors, directory, environment).unwrap()
    }

    #[test]
    fn what_could_not_be_read_is_absent() {
        let unreadable = PathPart { len: 0, state: PATH_UNREADABLE };
        let header = record::Surroundings { directory: unreadable, ..Zeroable::zeroed() };
        let all = decoded(header, b"", b"");
        assert_eq!((all.file, all.removed, all.directory, all.session, all.terminal), (None, None, None, None, None));
        let paths: Vec<&[u8]> = all.ancestors.iter().map(|one| one.path.as_slice()).collect();
        assert_eq!(paths, [b"/bin/sshd".as_slice(), b"", b"", b""]);
    }

    #[test]
    fn numbers_are_taken_apart() {
        let mut header = record::Surroundings::zeroed();
        header.known = KNOWN_FILE | KNOWN_UNLINKED | KNOWN_SESSION | KNOWN_TTY;
        (header.device, header.tty, header.mode, header.session) = (8 << 20 | 1, 136 << 20 | 5, 0o104_755, 7);
        let all = decoded(header, b"www\0var\0", b"");
        let file = all.file.unwrap();
        assert_eq!((file.device.to_string(), file.mode), ("8:1".to_owned(), 0o4755));
        assert_eq!((all.removed, all.session), (Some(true), Some(7)));
        assert_eq!(all.terminal, Some(Some(Device { major: 136, minor: 5 })));
        assert_eq!(all.directory.unwrap().path, b"/var/www");
        header.known = KNOWN_LINKED | KNOWN_TTY;
        header.tty = 0;
        let all = decoded(header, b"", b"");
        assert_eq!((all.removed, all.terminal), (Some(false), Some(None)));
        assert_eq!(all.directory.unwrap().path, b"/", "no component is the root");
    }

    #[test]
    fn a_cut_variable_is_left_out_and_only_wanted_ones_are_kept() {
        let mut header = record::Surroundings::zeroed();
        header.environment_total = 100;
        let environment = b"A=1\0PATHS=2\0PATH=/bin:/x=y\0NO\0\0PATH=3\0PATH=cu";
        let mut all = decoded(header, b"", environment);
        assert!(all.environment_cut);
        all.keep_environment(&["PATH".to_owned(), "NO".to_owned()]);
        assert_eq!(all.environment, [b"PATH=/bin:/x=y".as_slice(), b"NO", b"PATH=3"]);
        header.environment_total = 4;
        assert!(!decoded(header, b"", b"A=1\0").environment_cut);
    }
}
