//! Writes the seeds into the corpus, for when the format of records or the table of kernel fields has changed.

use std::fs;
use std::io;

fn main() -> io::Result<()> {
    for seed in sensor_fuzz::seeds::all() {
        let path = seed.path();
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, seed.bytes)?;
    }
    Ok(())
}
