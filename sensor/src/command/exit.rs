//! The exit status of the commands.

use crate::kernel::error::LoadError;
use serde::{Serialize, Serializer};
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed while running, or could not do all that was asked.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// The kernel lacks something that the sensor needs.
    Unsupported = 4,
    /// The privileges do not suffice.
    NotPermitted = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl From<&LoadError> for Exit {
    fn from(error: &LoadError) -> Self {
        match error {
            LoadError::NotPermitted(_) => Self::NotPermitted,
            LoadError::Btf { .. }
            | LoadError::AyaBtf(_)
            | LoadError::Layout(_)
            | LoadError::NoHook { .. }
            | LoadError::Object(_) => Self::Unsupported,
            LoadError::Missing(_) | LoadError::MapKind { .. } | LoadError::MapMemory { .. } => Self::Failed,
        }
    }
}
