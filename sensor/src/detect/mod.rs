//! Detection: the rule language's operators, the rules as data, the correlator, exceptions. Pure: no I/O, no clock.

pub mod correlator;
pub mod detector;
pub mod eql;
pub mod exception;
pub mod moment;
pub mod redact;
pub mod rule;
pub mod sequence;
