//! Detection: the rule language's operators, the rules as data, the correlator. Pure: no I/O, no clock.

pub mod correlator;
pub mod eql;
pub mod moment;
pub mod rule;
pub mod sequence;
