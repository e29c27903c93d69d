//! The maps: settings and counters (memory-mapped by the user side), pending connections, two ring buffers, scratch space.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use sensor_common::counter::COUNTERS;
use sensor_common::record::{
    ANCESTOR_PATH_MAX, ANCESTOR_PATHS, ARGV_MAX, Arm, CONNECTION_PATH_MAX, ConnectionRecord, DIRECTORY_PATH_MAX,
    ENVIRONMENT_MAX, EXEC_PATH_MAX, ExecRecord, Inherited, PARENT_PATH_MAX, PATH_SLACK,
};
use sensor_common::settings::{INHERITED_CAPACITY, PENDING_CAPACITY, Settings};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// The record of a connection as it is reserved in its ring buffer.
#[repr(C)]
pub(crate) struct ConnectionSpace {
    pub(crate) header: ConnectionRecord,
    pub(crate) path: [u8; CONNECTION_PATH_MAX + PATH_SLACK],
}

/// Room that the walk to a path needs.
pub(crate) const PATH_ROOM: usize = EXEC_PATH_MAX + PATH_SLACK;
/// The same for the paths behind the executable's; none of them is longer.
pub(crate) const FURTHER_ROOM: usize = PARENT_PATH_MAX + PATH_SLACK;
/// All paths of an execution.
pub(crate) const PATHS_ROOM: usize =
    PATH_ROOM + FURTHER_ROOM + ANCESTOR_PATHS * (ANCESTOR_PATH_MAX + PATH_SLACK) + FURTHER_ROOM;

const _: () = assert!(DIRECTORY_PATH_MAX <= PARENT_PATH_MAX && ANCESTOR_PATH_MAX <= PARENT_PATH_MAX);
// What a per-CPU map can hold (`PCPU_MIN_UNIT_SIZE`).
const _: () = assert!(size_of::<ExecSpace>() <= 32 << 10);

/// Where the record of an execution is put together: the header, then the paths, argv and the environment without a gap.
#[repr(C)]
pub(crate) struct ExecSpace {
    pub(crate) header: ExecRecord,
    /// The further room is for a copy that, to the verifier, may begin anywhere in front of it.
    pub(crate) tail: [u8; PATHS_ROOM + FURTHER_ROOM + ARGV_MAX + ENVIRONMENT_MAX],
    /// The dentry and the mount that a walk has come to.
    pub(crate) walk_place: [u64; 2],
    /// Walks write here, always at the same place: the verifier cannot follow them elsewhere.
    pub(crate) walk: [u8; PATH_ROOM],
    /// Bytes of it so far.
    pub(crate) walk_len: u32,
}

/// The state of `arm.rs`: how many connections were remembered within the present window.
#[repr(C)]
pub(crate) struct Arming {
    pub(crate) window_start_ns: u64,
    pub(crate) window_arms: u64,
    pub(crate) pressure_until_ns: u64,
}

/// The state of `fork.rs`: how many processes have inherited a connection within the present window.
#[repr(C)]
pub(crate) struct Forking {
    pub(crate) start_ns: u64,
    pub(crate) count: u64,
}

#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1, MMAPABLE> = Array::new();

/// One copy of the counters for each CPU; their number is set at load. A per-CPU map cannot be memory-mapped.
#[btf_map]
pub(crate) static COUNTS: Array<[u64; COUNTERS], 1, MMAPABLE> = Array::new();

/// The newest connection of each process, by tgid.
#[btf_map]
pub(crate) static PENDING: LruHashMap<u32, Arm, { PENDING_CAPACITY as usize }> = LruHashMap::new();

/// The connection that a process has inherited, by tgid. A table of its own, so that no number of forks pushes out a connection
/// that a process has made itself.
#[btf_map]
pub(crate) static INHERITED: LruHashMap<u32, Inherited, { INHERITED_CAPACITY as usize }> = LruHashMap::new();

#[btf_map]
pub(crate) static FORKING: Array<Forking, 1> = Array::new();

#[btf_map]
pub(crate) static ARMING: Array<Arming, 1> = Array::new();

/// Size set at load.
#[btf_map]
pub(crate) static CONNECTIONS: RingBuf<ConnectionSpace, { 1 << 20 }> = RingBuf::new();

/// Size set at load.
#[btf_map]
pub(crate) static EXECUTIONS: RingBuf<ExecSpace, { 4 << 20 }> = RingBuf::new();

/// Used by the exec program alone, which the kernel never runs twice at a time on one CPU.
#[btf_map]
pub(crate) static EXEC_SPACE: PerCpuArray<ExecSpace, 1> = PerCpuArray::new();
