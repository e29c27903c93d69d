//! Type information in which a few types have the numbers that they have in the kernel's, and which holds nothing else of it.
//!
//! A program is attached by the number of a type. aya looks that up by itself, in type information of which it keeps every type
//! with all its members: five times the memory of what is needed here.

use super::{Btf, FUNC, FWD, TYPEDEF};

/// Bytes of the header.
const HEADER_BYTES: u32 = 24;
const _: () = assert!(HEADER_BYTES as usize == super::HEADER);

/// A type that is named when a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// A function.
    Function(&'static str),
    /// The definition of a tracepoint's arguments: `btf_trace_` and the tracepoint's name.
    Tracepoint(&'static str),
}

impl Btf {
    /// Type information with these types of the kernel under their numbers, as far as there are such; with others that say nothing in
    /// between, and none behind.
    #[must_use]
    pub fn extract(&self, anchors: &[Anchor]) -> Vec<u8> {
        let named = anchors.iter().map(|anchor| match anchor {
            Anchor::Function(name) => (FUNC, (*name).to_owned()),
            Anchor::Tracepoint(name) => (TYPEDEF, format!("btf_trace_{name}")),
        });
        let named: Vec<(u8, String)> = named.collect();
        let nothing = [0, u32::from(FWD) << 24, 0];
        let mut types = Vec::new();
        let mut strings = vec![0];
        for (before, place) in self.places.iter().enumerate() {
            let Ok(ty) = self.type_at(*place as usize) else { continue };
            let found = named.iter().find(|(kind, name)| *kind == ty.kind && self.is_named(ty.name, name));
            let Some((kind, name)) = found else { continue };
            types.resize(before, nothing);
            types.push([length(&strings), u32::from(*kind) << 24, 0]);
            strings.extend(name.bytes().chain([0]));
        }
        let types = types.as_flattened();
        let bytes = length(types) * 4;
        let header = [HEADER_BYTES, 0, bytes, bytes, length(&strings)];
        let mut extract = vec![0x9f, 0xeb, 1, 0];
        extract.reserve_exact(size_of_val(&header) + size_of_val(types) + strings.len());
        extract.extend(header.iter().chain(types).flat_map(|word| word.to_le_bytes()));
        extract.extend(strings);
        extract
    }
}

/// Of parts of what came from a file, which is far smaller than 4 GiB.
#[expect(clippy::cast_possible_truncation, reason = "no part is larger than the file, which is at most MAX_BYTES")]
fn length<T>(part: &[T]) -> u32 {
    part.len() as u32
}
