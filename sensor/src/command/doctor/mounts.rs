//! The mounts that a process sees: /proc/PID/mountinfo, proc_pid_mountinfo(5).

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its file system, such as `cgroup2`.
    pub(super) kind: String,
    /// Which directory of the file system is mounted.
    pub(super) root: String,
    /// Where.
    pub(super) point: String,
    /// Whether the mount or the file system can only be read.
    pub(super) read_only: bool,
    /// The options of the file system, separated by commas.
    pub(super) options: String,
}

/// All mounts that the text tells of; a line that makes no sense is none.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`
fn line(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let [root, point, own] = [mount.next()?, mount.next()?, mount.next()?];
    let mut file_system = file_system.split(' ');
    let [kind, _, options] = [file_system.next()?, file_system.next()?, file_system.next()?];
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        kind: kind.to_owned(),
        root: unescaped(root),
        point: unescaped(point),
        read_only: read_only(own) || read_only(options),
        options: options.to_owned(),
    })
}

/// Space, tab, line end and backslash are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        plain.push_str(before);
        let number = behind.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number.zip(behind.get(3..)) {
            Some((byte, behind)) => {
                plain.push(char::from(byte));
                rest = behind;
            }
            None => {
                plain.push('\\');
                rest = behind;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_a_mount() {
        let text = "36 35 98:0 /a\\040b /mnt\\134x rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue\n\
                    40 36 0:9 / /sys/kernel/tracing ro,relatime - tracefs tracefs rw\n\
                    41 36 0:9 / /t rw - tracefs tracefs ro,gid=0\nno mount\n1 2 3 - x\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        let Mount { kind, root, point, read_only, options } = &mounts[0];
        assert_eq!([&**kind, root, point, options], ["ext4", "/a b", "/mnt\\x", "rw,errors=continue"]);
        assert!(!read_only && mounts[1].read_only && mounts[2].read_only);
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (text, plain) in [("\\", "\\"), ("a\\9", "a\\9"), ("\\777", "\\777"), ("\\01", "\\01"), ("\\011x", "\tx")] {
            assert_eq!(unescaped(text), plain);
        }
    }
}
