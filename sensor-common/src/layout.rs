//! The one table of kernel structure members that the sensor reads.
//!
//! A line gives the name used in the eBPF programs, the BTF path of the member (`type.member.member`, anonymous structs
//! and unions are looked through) and the member's size in bytes; where the member has another path on other kernels, that one
//! stands behind an `or`. The table expands to [`Layout`], the struct of byte
//! offsets that is written into the object's read-only data before loading, and to [`FIELDS`], the list that the
//! user side resolves against the running kernel's BTF. To read one more member, add one line here.

use bytemuck::{Pod, Zeroable};

/// Offset of a member that the running kernel does not have.
pub const MISSING: u16 = u16::MAX;

/// Whether the sensor can work without a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The sensor refuses to start without it.
    Required,
    /// A feature is switched off without it, visibly.
    Optional,
}

/// One member of a kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the member in [`Layout`].
    pub name: &'static str,
    /// Path in the kernel's BTF, such as `file.f_path.dentry`.
    pub path: &'static str,
    /// Path of the same on other kernels; empty if there is none.
    pub other_path: &'static str,
    /// Size of the member in bytes; 0 for an embedded structure, of which only the place matters.
    pub size: u32,
    /// What its absence means.
    pub need: Need,
}

macro_rules! layout {
    ($($need:ident $name:ident: $path:literal $(or $other:literal)?, $size:literal;)*) => {
        /// Byte offsets of the members, each within the structure its path begins with.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
        pub struct Layout {
            $(#[doc = concat!("Offset of `", $path, "`.")] pub $name: u16,)*
        }

        /// The members in the order in which [`Layout`] holds their offsets.
        pub const FIELDS: [Field; Layout::LEN] = [
            $(Field {
                name: stringify!($name),
                path: $path,
                other_path: concat!($($other)?),
                size: $size,
                need: Need::$need,
            },)*
        ];

        impl Layout {
            /// Number of members.
            pub const LEN: usize = [$($path),*].len();

            /// No member known: what the object holds before the user side has resolved the offsets.
            pub const UNRESOLVED: Self = Self { $($name: MISSING,)* };

            /// The layout with these offsets, in the order of [`FIELDS`].
            #[must_use]
            pub const fn from_offsets(offsets: [u16; Self::LEN]) -> Self {
                let [$($name,)*] = offsets;
                Self { $($name,)* }
            }

            /// The offsets in the order of [`FIELDS`].
            #[must_use]
            pub const fn offsets(&self) -> [u16; Self::LEN] {
                let Self { $($name,)* } = *self;
                [$($name,)*]
            }
        }
    };
}

layout! {
    // What every execution and connection asks for comes first, in one cache line.
    Required task_comm: "task_struct.comm", 16;
    Required task_mm: "task_struct.mm", 8;
    Required mm_exe_file: "mm_struct.exe_file", 8;
    Required binprm_file: "linux_binprm.file", 8;
    Required file_dentry: "file.f_path.dentry", 8;
    Required dentry_name_len: "dentry.d_name.len", 4;
    Optional dentry_inline_name: "dentry.d_shortname" or "dentry.d_iname", 0;
    Required dentry_name: "dentry.d_name.name", 8;
    Required task_group_leader: "task_struct.group_leader", 8;
    // The rest.
    Required task_pid: "task_struct.pid", 4;
    Required task_tgid: "task_struct.tgid", 4;
    Required task_real_parent: "task_struct.real_parent", 8;
    Required task_files: "task_struct.files", 8;
    Required task_start_boottime: "task_struct.start_boottime", 8;
    Required task_cred: "task_struct.cred", 8;
    Optional task_signal: "task_struct.signal", 8;
    Optional task_fs: "task_struct.fs", 8;
    Optional task_loginuid: "task_struct.loginuid", 4;
    Required cred_uid: "cred.uid", 4;
    Required cred_gid: "cred.gid", 4;
    Required cred_euid: "cred.euid", 4;
    Required mm_arg_start: "mm_struct.arg_start", 8;
    Required mm_arg_end: "mm_struct.arg_end", 8;
    Optional mm_env_start: "mm_struct.env_start", 8;
    Optional mm_env_end: "mm_struct.env_end", 8;
    Required mm_start_stack: "mm_struct.start_stack", 8;
    Required file_mnt: "file.f_path.mnt", 8;
    Required file_inode: "file.f_inode", 8;
    Required file_private_data: "file.private_data", 8;
    Required dentry_parent: "dentry.d_parent", 8;
    Optional dentry_hashed: "dentry.d_hash.pprev", 8;
    Required vfsmount_root: "vfsmount.mnt_root", 8;
    Required mount_mnt: "mount.mnt", 0;
    Required mount_parent: "mount.mnt_parent", 8;
    Required mount_mountpoint: "mount.mnt_mountpoint", 8;
    Required inode_mode: "inode.i_mode", 2;
    Required inode_rdev: "inode.i_rdev", 4;
    Optional inode_uid: "inode.i_uid", 4;
    Optional inode_gid: "inode.i_gid", 4;
    Optional inode_number: "inode.i_ino", 8;
    Optional inode_super: "inode.i_sb", 8;
    Optional super_device: "super_block.s_dev", 4;
    Optional fs_directory: "fs_struct.pwd.dentry", 8;
    Optional fs_directory_mnt: "fs_struct.pwd.mnt", 8;
    Optional signal_pids: "signal_struct.pids", 32;
    Optional signal_tty: "signal_struct.tty", 8;
    Optional pid_numbers: "pid.numbers", 0;
    Optional tty_driver: "tty_struct.driver", 8;
    Optional tty_index: "tty_struct.index", 4;
    Optional driver_major: "tty_driver.major", 4;
    Optional driver_minor: "tty_driver.minor_start", 4;
    Required files_fdt: "files_struct.fdt", 8;
    Optional files_fdtab: "files_struct.fdtab", 0;
    Optional files_fd_array: "files_struct.fd_array", 0;
    Required fdtable_fd: "fdtable.fd", 8;
    Required fdtable_max_fds: "fdtable.max_fds", 4;
    Optional fork_child: "trace_event_raw_sched_process_fork.child_pid", 4;
    Required binprm_argc: "linux_binprm.argc", 4;
    Required socket_sk: "socket.sk", 8;
    Required sock_family: "sock.__sk_common.skc_family", 2;
    Required sock_state: "sock.__sk_common.skc_state", 1;
    Required sock_daddr: "sock.__sk_common.skc_daddr", 4;
    Required sock_rcv_saddr: "sock.__sk_common.skc_rcv_saddr", 4;
    Optional sock_v6_daddr: "sock.__sk_common.skc_v6_daddr", 16;
    Optional sock_v6_rcv_saddr: "sock.__sk_common.skc_v6_rcv_saddr", 16;
    Required sock_dport: "sock.__sk_common.skc_dport", 2;
    Required sock_num: "sock.__sk_common.skc_num", 2;
    Required sock_protocol: "sock.sk_protocol", 2;
}

const _: () = assert!(size_of::<Layout>() == 2 * Layout::LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_fields_share_one_order() {
        let mut offsets = [0; Layout::LEN];
        for (place, offset) in offsets.iter_mut().enumerate() {
            *offset = u16::try_from(place).unwrap();
        }
        let layout = Layout::from_offsets(offsets);
        assert_eq!(layout.offsets(), offsets);
        let place = FIELDS.iter().position(|field| field.name == "mm_exe_file").unwrap();
        assert_eq!(usize::from(layout.mm_exe_file), place);
    }

    #[test]
    fn names_and_paths_are_unique() {
        for (place, field) in FIELDS.iter().enumerate() {
            for other in FIELDS.iter().skip(place + 1) {
                assert_ne!(field.name, other.name);
                assert_ne!(field.path, other.path);
            }
        }
    }
}
