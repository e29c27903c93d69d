//! What stands on the descriptors of a task: sockets, and above all TCP connections, pipes, devices, files.
//!
//! From the task to the file: `task->files->fdt->fd[n]`. From the file to the socket: an inode of the type of a socket is part of a
//! `struct socket_alloc`, and `file->private_data` then is the `struct socket` (`sock_alloc_file`). A program that has just been executed
//! shares its table with nobody (`begin_new_exec` calls `unshare_files`), so nothing here changes meanwhile.

use crate::filter::is_excluded;
use crate::kernel::{Access, Kptr, Probed, offset};
use crate::socket::{Ends, tcp_ends};
use sensor_common::layout::MISSING;
use sensor_common::record::{
    PTS_MAJORS, STREAM_CLOSED, STREAM_DEVICE, STREAM_FILE, STREAM_OTHER, STREAM_PIPE, STREAM_SOCKET, STREAM_TCP,
    STREAM_UNREADABLE, STREAMS, Stream, TCP_LISTEN,
};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const S_IFREG: u16 = 0o100_000;
const S_IFCHR: u16 = 0o020_000;
const S_IFIFO: u16 = 0o010_000;

/// The table of a task's open files, one pointer for each descriptor. It has never less than `NR_OPEN_DEFAULT` (64) of them.
#[inline(always)]
fn slots(task: Kptr<Probed>) -> Option<*const u8> {
    task.follow(offset!(task_files))?.follow(offset!(files_fdt))?.read(offset!(fdtable_fd))
}

/// The file on a descriptor, null if it is closed; `None` if it cannot be read.
#[inline(always)]
fn file(slots: *const u8, descriptor: usize) -> Option<Kptr<Probed>> {
    Kptr::<Probed>::new(slots.wrapping_add(descriptor * 8)).read(0).map(Kptr::new)
}

/// Whether the standard input of a task is a socket; `None` if it cannot be read.
#[inline(always)]
pub(crate) fn stdin_is_socket<A: Access>(task: Kptr<A>) -> Option<bool> {
    let files = task.follow(offset!(task_files))?;
    let fdt: *const u8 = files.read(offset!(files_fdt))?;
    if offset!(files_fdtab) != MISSING
        && offset!(files_fd_array) != MISSING
        && fdt == files.embedded(offset!(files_fdtab))
    {
        // A table that was never enlarged lies in `files_struct` itself, where its pointers have a type: no helper is needed for them.
        return is_open_socket(Kptr::<A>::new(files.read(offset!(files_fd_array))?));
    }
    let slots = Kptr::<A>::new(fdt).read(offset!(fdtable_fd))?;
    is_open_socket(file(slots, 0)?)
}

#[inline(always)]
fn is_open_socket<A: Access>(file: Kptr<A>) -> Option<bool> {
    if file.is_null() { Some(false) } else { is_socket(file) }
}

#[inline(always)]
fn is_socket<A: Access>(file: Kptr<A>) -> Option<bool> {
    let mode: u16 = file.follow(offset!(file_inode))?.read(offset!(inode_mode))?;
    Some(mode & S_IFMT == S_IFSOCK)
}

/// The socket that a file is known to be.
#[inline(always)]
fn sock(file: Kptr<Probed>) -> Option<Kptr<Probed>> {
    file.follow(offset!(file_private_data))?.follow(offset!(socket_sk))
}

/// The socket behind a descriptor of a task: `None` if it cannot be read, `Some(None)` if it is no socket.
#[inline(always)]
pub(crate) fn socket_of(task: Kptr<Probed>, descriptor: u64) -> Option<Option<Kptr<Probed>>> {
    let table = task.follow(offset!(task_files))?.follow(offset!(files_fdt))?;
    let size: u32 = table.read(offset!(fdtable_max_fds))?;
    if descriptor >= u64::from(size) {
        return Some(None);
    }
    let file = file(table.read(offset!(fdtable_fd))?, descriptor as usize)?;
    if file.is_null() || !is_socket(file)? {
        return Some(None);
    }
    sock(file).map(Some)
}

/// Writes what stands on standard input, output and error of `task`.
#[inline(always)]
pub(crate) fn write(task: Kptr<Probed>, streams: *mut [Stream; STREAMS]) {
    let slots = slots(task).unwrap_or(core::ptr::null());
    for descriptor in 0..STREAMS {
        // SAFETY: `descriptor` is below the length of the array.
        let stream = unsafe { streams.cast::<Stream>().add(descriptor) };
        let kind = describe(slots, descriptor, stream).unwrap_or(STREAM_UNREADABLE);
        // SAFETY: the caller's memory is a whole array of them.
        unsafe { (&raw mut (*stream).kind).write_volatile(kind) };
    }
}

/// The kind of what stands on a descriptor, and in `stream` whatever else belongs to that kind.
#[inline(always)]
fn describe(slots: *const u8, descriptor: usize, stream: *mut Stream) -> Option<u8> {
    let file = file(slots, descriptor)?;
    if file.is_null() {
        return Some(STREAM_CLOSED);
    }
    let inode = file.follow(offset!(file_inode))?;
    // SAFETY: the caller's memory is a whole Stream.
    let stream = unsafe { &mut *stream };
    match inode.read::<u16>(offset!(inode_mode))? & S_IFMT {
        S_IFSOCK => socket(sock(file)?, stream),
        S_IFIFO => Some(STREAM_PIPE),
        S_IFREG => Some(STREAM_FILE),
        S_IFCHR => {
            stream.device = inode.read(offset!(inode_rdev))?;
            Some(STREAM_DEVICE)
        }
        _ => Some(STREAM_OTHER),
    }
}

#[inline(always)]
fn socket(sock: Kptr<Probed>, stream: &mut Stream) -> Option<u8> {
    stream.family = sock.read(offset!(sock_family))?;
    stream.protocol = sock.read(offset!(sock_protocol))?;
    stream.state = sock.read(offset!(sock_state))?;
    let Some(Ends { local, remote, local_port, remote_port }) = tcp_ends(sock)? else {
        return Some(STREAM_SOCKET);
    };
    stream.local = local;
    stream.remote = remote;
    stream.local_port = local_port;
    stream.remote_port = remote_port;
    Some(STREAM_TCP)
}

/// Whether standard input and output both are something at whose other end another program may be: a terminal of a pseudoterminal, a
/// pipe or a socket. What could not be read may be one.
#[inline(always)]
pub(crate) fn can_be_relayed(streams: *const [Stream; STREAMS]) -> bool {
    for descriptor in 0..2 {
        // SAFETY: `descriptor` is below the length of the array, and `write` has written it.
        let stream = unsafe { &*streams.cast::<Stream>().add(descriptor) };
        match stream.kind {
            STREAM_PIPE | STREAM_SOCKET | STREAM_TCP | STREAM_UNREADABLE => {}
            STREAM_DEVICE if PTS_MAJORS.contains(&(stream.device >> 20)) => {}
            _ => return false,
        }
    }
    true
}

/// Whether standard input and output both are TCP connections to addresses that count, be it one connection or two; `None` if that could not
/// be read. A connection that is still being made is one, and so is one that has ended: what it has brought can still be read.
#[inline(always)]
pub(crate) fn are_connections(streams: *const [Stream; STREAMS]) -> Option<bool> {
    for descriptor in 0..2 {
        // SAFETY: `descriptor` is below the length of the array, and `write` has written it.
        let stream = unsafe { &*streams.cast::<Stream>().add(descriptor) };
        match stream.kind {
            STREAM_TCP if stream.remote_port != 0 && stream.state != TCP_LISTEN => {}
            STREAM_UNREADABLE => return None,
            _ => return Some(false),
        }
        if is_excluded(&stream.remote) {
            return Some(false);
        }
    }
    Some(true)
}
