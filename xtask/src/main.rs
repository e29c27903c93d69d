//! Builds, tests and measures the sensor.
fn main() {}
