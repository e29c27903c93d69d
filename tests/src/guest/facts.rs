//! Which kernel this is, and what the sensor finds in its type information: by the sensor's own code.

use crate::protocol::Message;
use crate::tell::Told;
use anyhow::{Context, Result};
use sensor::kernel::btf::{Btf, KERNEL_BTF};
use sensor::kernel::layout;
use sensor_common::layout::{FIELDS, MISSING};
use std::path::Path;

/// Functions at which programs are attached.
const FUNCTIONS: [&str; 3] = ["inet_csk_accept", "security_sock_graft", "tcp_connect"];

/// Tells both.
pub(crate) fn tell(told: &mut Told) -> Result<()> {
    let names = rustix::system::uname();
    let [release, version] = [names.release(), names.version()].map(|name| name.to_string_lossy().into_owned());
    told.tell(&Message::Kernel { release, version })?;
    let btf = Btf::read(Path::new(KERNEL_BTF)).context(KERNEL_BTF)?;
    let resolved = layout::resolve(&btf)?;
    let offsets = FIELDS.iter().zip(resolved.layout.offsets());
    let offsets = offsets.map(|(field, offset)| (field.path.to_owned(), (offset != MISSING).then_some(offset)));
    let prototypes = FUNCTIONS.map(|function| {
        let declared = btf.prototype(function);
        let declared = declared.map(|it| format!("{} ({})", it.returns, it.parameters.join(", ")));
        (function.to_owned(), declared)
    });
    told.tell(&Message::Layout { offsets: offsets.collect(), prototypes: prototypes.into() })
}
