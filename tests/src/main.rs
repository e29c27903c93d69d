//! End-to-end tests of the sensor.
fn main() {}
