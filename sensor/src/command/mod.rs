//! The commands of the command line, one file each.

pub mod alive;
pub mod check;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod replay;
pub mod run;
pub mod selftest;
