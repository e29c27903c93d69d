//! How large the programs are that this kernel takes: instructions that the verifier looked at, those that the kernel has made of
//! them, and bytes of machine code.

use crate::cost::Heard;
use crate::cost::side::{Side, enough};
use crate::tell;
use anyhow::{Context, Result};

/// Bytes of an instruction (`struct bpf_insn`).
const INSTRUCTION: u32 = 8;

/// Loads everything once, and asks the kernel.
pub(crate) fn measure() -> Result<()> {
    for number in 0..enough() {
        let mut side = Side::load(number, &mut |heard| match heard {
            Heard::Refused { hook, reason } => tell::not_measured(&hook, &reason),
            _ => Ok(()),
        })?;
        let mut names: Vec<_> = side.attachments().into_iter().map(|attachment| attachment.program).collect();
        names.dedup();
        for name in names {
            let info = side.info(name)?;
            let translated = info.size_translated().context("the kernel does not show its instructions")?;
            // Since 5.16.
            match info.verified_instruction_count() {
                Some(verified) => tell::figure(name, "verified", verified.into(), "instructions", String::new())?,
                None => tell::not_measured(name, "the kernel does not tell how many instructions it has verified")?,
            }
            tell::figure(name, "translated", (translated / INSTRUCTION).into(), "instructions", String::new())?;
            tell::figure(name, "machine code", info.size_jitted().into(), "bytes", String::new())?;
        }
    }
    Ok(())
}
