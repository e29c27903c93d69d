//! Whether the sensor sees what it should: what was lost, whether the numbers agree, whether a hook still fires.

pub mod law;
pub mod losses;
pub mod witness;
