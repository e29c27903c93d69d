//! The configuration file.

use crate::file::MemoryFile;
use sensor::config::Config;

/// A configuration. Taken all the way: it is valid.
pub fn config(data: &[u8]) -> bool {
    match load(data) {
        Ok(config) => {
            let printed = config.to_toml();
            let again = load(printed.as_bytes());
            assert_eq!(again.as_ref(), Ok(&config), "printed as\n{printed}");
            assert_eq!(config.restart_needed(&config), [""; 0]);
            let _ = config.kernel_slot();
            true
        }
        Err(message) => {
            // It goes to a terminal or into a log, where a line is an entry.
            assert!(!message.contains(char::is_control), "{message:?}");
            assert!(message.starts_with("/proc/self/fd/"), "{message:?} does not begin with the file");
            false
        }
    }
}

fn load(data: &[u8]) -> Result<Config, String> {
    Config::load(Some(MemoryFile::new(data).path())).map_err(|error| error.to_string())
}
