//! Every counter of the kernel side, one enumeration.
//!
//! For each hook, `seen` = Σ `filtered_…` + `unarmed_…` + `sent_…` + Σ `lost_…` (and `duplicate`), where `seen` is counted
//! on its own at the point where a program has found that the event concerns it.

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Counted when the event was seen, before anything was decided.
    Seen,
    /// Cannot matter to any rule.
    Filtered,
    /// A shell was executed, but its process had made no connection within the span.
    Unarmed,
    /// Handed to the user side.
    Sent,
    /// Should have been handed over and was not.
    Lost,
    /// Says more about an event that is counted elsewhere; not part of the sum.
    Note,
}

impl Fate {
    /// In one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Filtered => "filtered",
            Self::Unarmed => "unarmed",
            Self::Sent => "sent",
            Self::Lost => "lost",
            Self::Note => "note",
        }
    }
}

/// Rows of the counters map behind those of the CPUs, which the kernel side does not touch: the counters as they were when the user
/// side had last told what was lost, and in the first word of the other one when that was, as boot time in nanoseconds.
pub const TOLD_ROWS: u32 = 2;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $hook:literal $fate:ident $cause:literal;)*) => {
        /// A counter; its number is its place in the counters map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// All counters, in the order of their places.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The hook whose events it counts.
            #[must_use]
            pub const fn hook(self) -> &'static str {
                match self { $(Self::$variant => $hook,)* }
            }

            /// What became of the events that it counts.
            #[must_use]
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)* }
            }

            /// Why, in one word.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause,)* }
            }
        }
    };
}

counters! {
    /// Connections attempted, by any program.
    ConnectSeen = "connect" Seen "seen";
    /// By a program that no rule names.
    ConnectName = "connect" Filtered "name";
    /// To an excluded network.
    ConnectNetwork = "connect" Filtered "network";
    /// The kernel gave the attempt up before a SYN was queued, or it is not TCP.
    ConnectNotTcp = "connect" Filtered "not_tcp";
    /// Recorded and sent.
    ConnectSent = "connect" Sent "sent";
    /// Recorded, but the ring buffer was full; an execution still carries it.
    ConnectRing = "connect" Lost "ring_full";
    /// A field of the socket or the task could not be read.
    ConnectRead = "connect" Lost "read";
    /// Sent, but the table of pending connections took no entry: an execution will not be sent for it.
    ConnectNotPending = "connect" Note "not_pending";

    /// Connections accepted, by any program.
    AcceptSeen = "accept" Seen "seen";
    /// By a program that no rule names.
    AcceptName = "accept" Filtered "name";
    /// On an address in an excluded network.
    AcceptNetwork = "accept" Filtered "network";
    /// No connection was returned, or it is not TCP.
    AcceptNotTcp = "accept" Filtered "not_tcp";
    /// Recorded and sent.
    AcceptSent = "accept" Sent "sent";
    /// Recorded, but the ring buffer was full; an execution still carries it.
    AcceptRing = "accept" Lost "ring_full";
    /// A field of the socket or the task could not be read.
    AcceptRead = "accept" Lost "read";
    /// Sent, but the table of pending connections took no entry: an execution will not be sent for it.
    AcceptNotPending = "accept" Note "not_pending";

    /// Accepted sockets joined to a descriptor, by any program: the second witness of accept.
    GraftSeen = "graft" Seen "seen";
    /// By a program that no rule names.
    GraftName = "graft" Filtered "name";
    /// On an address in an excluded network.
    GraftNetwork = "graft" Filtered "network";
    /// Not TCP.
    GraftNotTcp = "graft" Filtered "not_tcp";
    /// The first witness has recorded it already.
    GraftDuplicate = "graft" Filtered "duplicate";
    /// Recorded and sent: the first witness had missed it.
    GraftSent = "graft" Sent "sent";
    /// Recorded, but the ring buffer was full; an execution still carries it.
    GraftRing = "graft" Lost "ring_full";
    /// A field of the socket or the task could not be read.
    GraftRead = "graft" Lost "read";
    /// Sent, but the table of pending connections took no entry: an execution will not be sent for it.
    GraftNotPending = "graft" Note "not_pending";

    /// Executions seen while a connection was pending, all those of the parent program and, if they are wanted, all those whose
    /// standard input is a socket.
    ExecSeen = "exec" Seen "seen";
    /// No program that a rule names.
    ExecName = "exec" Filtered "name";
    /// A shell whose process has made no connection.
    ExecUnarmed = "exec" Unarmed "never";
    /// A shell whose process has made a connection longer ago than the span.
    ExecExpired = "exec" Unarmed "expired";
    /// A shell whose process number was used by another process when the connection was made.
    ExecReused = "exec" Unarmed "pid_reused";
    /// A shell not armed whose standard input is a socket, but whose standard input and output are not both connections that count.
    ExecOtherStreams = "exec" Unarmed "other_streams";
    /// A shell of a program that may stand between it and a connection, but that reads no commands from what such a program could write to.
    ExecNotRelayed = "exec" Unarmed "not_relayed";
    /// A shell whose process has made a connection, sent.
    ExecSent = "exec" Sent "armed";
    /// A shell sent without a connection, because the table of connections was under pressure.
    ExecPressure = "exec" Sent "pressure";
    /// An execution of the parent program, sent.
    ExecParent = "exec" Sent "parent";
    /// A shell sent because its standard input and output are connections.
    ExecStreams = "exec" Sent "streams";
    /// A shell sent because its parent, or another ancestor before the fork, has made a connection.
    ExecInherited = "exec" Sent "inherited";
    /// The ring buffer was full.
    ExecRing = "exec" Lost "ring_full";
    /// A field of the task could not be read.
    ExecRead = "exec" Lost "read";

    /// Forks seen while a connection was pending, those that make a thread included.
    ForkSeen = "fork" Seen "seen";
    /// A thread, which shares its process's connection.
    ForkThread = "fork" Filtered "thread";
    /// Of a process that has neither made a connection within the span nor inherited one.
    ForkUnarmed = "fork" Unarmed "never";
    /// The connection has been inherited over as many forks as it may be.
    ForkFar = "fork" Unarmed "generations";
    /// The connection is inherited.
    ForkInherited = "fork" Sent "inherited";
    /// The table took no entry: an execution in the new process will not be sent for it.
    ForkTable = "fork" Lost "table";
    /// A field of a task could not be read.
    ForkRead = "fork" Lost "read";
    /// Inherited while so many were that the table may have forgotten others that still counted.
    ForkPressure = "fork" Note "pressure";
}

/// Number of counters.
pub const COUNTERS: usize = Counter::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_counts_what_it_sees_once() {
        for counter in Counter::ALL {
            if counter.fate() == Fate::Note {
                continue;
            }
            let seen = Counter::ALL.iter().filter(|c| c.hook() == counter.hook() && c.fate() == Fate::Seen);
            assert_eq!(seen.count(), 1, "{}", counter.hook());
        }
    }

    #[test]
    fn no_hook_has_two_counters_of_one_name() {
        for (place, a) in Counter::ALL.iter().enumerate() {
            assert_eq!(*a as usize, place);
            for b in &Counter::ALL[place + 1..] {
                assert!(a.hook() != b.hook() || a.fate() != b.fate() || a.cause() != b.cause(), "{a:?} {b:?}");
            }
        }
    }
}
