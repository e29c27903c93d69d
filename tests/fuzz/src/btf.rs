//! The kernel's type information: a file that the configuration may name.

use sensor::kernel::btf::{Anchor, Btf, Member};
use sensor::kernel::hook::{Fact, Place, candidates};
use sensor::kernel::layout::{LayoutError, resolve};
use sensor_common::layout::{FIELDS, MISSING, Need};

/// Paths beyond those of the table: through an anonymous member, to a bit field, to an array, to no member at all.
const PATHS: [&str; 6] = ["task_struct", "task_struct.flag", "file.f_path", "file.f_path.dentry.d_name", ".", ""];

/// Type information. Taken all the way: it has every member that the sensor requires.
pub fn btf(data: &[u8]) -> bool {
    let btf = match Btf::parse(data.to_vec()) {
        Ok(btf) => btf,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for path in PATHS {
        let _ = btf.member(path).map_err(|error| told(&error));
    }
    for name in functions() {
        assert!(btf.has_function(name) || btf.prototype(name).is_none(), "a declaration of no function: {name}");
    }
    let anchors: Vec<Anchor> =
        functions().map(Anchor::Function).chain([Anchor::Tracepoint("sched_process_exec")]).collect();
    let extract = Btf::parse(btf.extract(&anchors)).expect("an extract is type information");
    assert!(
        functions().all(|name| btf.has_function(name) == extract.has_function(name)),
        "a function that is left out"
    );
    let resolved = match resolve(&btf) {
        Ok(resolved) => resolved,
        Err(error) => {
            let LayoutError { field, .. } = &error;
            assert_eq!(field.need, Need::Required, "{} need not be there", field.path);
            told(&error);
            return false;
        }
    };
    for (field, offset) in FIELDS.iter().zip(resolved.layout.offsets()) {
        if offset == MISSING {
            assert!(resolved.missing.contains(&field) && field.need == Need::Optional, "{} is not missing", field.path);
            continue;
        }
        let Member { offset: found, size } = btf.member(field.path).expect("a member with an offset");
        assert_eq!(found, u64::from(offset), "{}", field.path);
        assert!(field.size == 0 || size == u64::from(field.size), "{} has {size} bytes", field.path);
    }
    true
}

/// Every kernel function that a hook looks at.
fn functions() -> impl Iterator<Item = &'static str> {
    let attachments = Fact::ALL.into_iter().flat_map(candidates).flat_map(|candidate| candidate.attachments);
    attachments.filter_map(|attachment| match attachment.place {
        Place::FunctionExit(function, _) | Place::FunctionEntry(function) | Place::Kprobe(function) => Some(function),
        Place::BtfTracepoint(_) | Place::RawTracepoint(_) | Place::Tracepoint(..) => None,
    })
}

fn told(error: &dyn std::error::Error) {
    assert!(!error.to_string().is_empty());
}
