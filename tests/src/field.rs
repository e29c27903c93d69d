//! Lines such as `VmRSS:  1234 kB`, as many files below /proc have them.

/// What stands behind this name, if there is such a line.
pub(crate) fn text<'file>(file: &'file str, name: &str) -> Option<&'file str> {
    file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The number that stands there, without its unit.
pub(crate) fn number(file: &str, name: &str) -> Option<u64> {
    text(file, name)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        assert_eq!(number("VmRSSx:\t1\nVmRSS:\t  42 kB\n", "VmRSS"), Some(42));
        assert_eq!(number("VmRSS 42", "VmRSS"), None);
        assert_eq!(text("Uid:\t0\t1\n", "Uid"), Some("0\t1"));
    }
}
