//! What hosts do all day.

use super::{Case, Tag, tagged};
use crate::lab::{Lab, which};
use anyhow::{Result, ensure};
use std::io::Read;
use std::net::SocketAddr;

const USERLAND: &[Tag] = &[Tag::Userland];

pub(super) const CASES: &[Case] = &[
    tagged("benign: login shells", USERLAND, |lab| {
        quiet(lab, "bash", &["-c", "bash -lc true; bash -l -c true; sh -l -c :"])
    }),
    tagged("benign: interactive shells", USERLAND, |lab| quiet(lab, "bash", &["-c", "bash -i -c true; dash -i -c :"])),
    tagged("benign: a build", USERLAND, build),
    tagged("benign: a health check", USERLAND, health_check),
    tagged("benign: a health check, then an interactive shell in another process", USERLAND, then_a_shell),
    tagged("benign: waiting for a port", USERLAND, wait_for_port),
    tagged("benign: socat as a relay", USERLAND, relay),
    tagged("benign: commands and shells by ssh", USERLAND, |lab| ssh(lab, SESSIONS)),
    tagged("benign: git by ssh", USERLAND, |lab| ssh(lab, GIT)),
    tagged("benign: a configuration manager by ssh", USERLAND, |lab| ssh(lab, MANAGER)),
    tagged("benign: a runner that holds a connection", USERLAND, runner),
    tagged("benign: an entry point that waits for a database", USERLAND, entry_point),
    tagged("benign: packages with scripts", USERLAND, |lab| quiet(lab, "bash", &["-c", PACKAGE])),
    tagged("benign: an administrator who tries a port", USERLAND, administrator),
    tagged("benign: services of inetd that are no shells", USERLAND, inetd),
];

/// What is run beside a server for ssh, whose `client` runs a command as root.
const SESSIONS: &str =
    "client true; client 'bash -c true; sh -i -c :'; client -t 'bash -i -c true'; client -t 'bash -l -c true'
    echo 'echo works' | client | grep -q works; echo exit | client -t bash -li >/dev/null";
const GIT: &str = "git init -q --bare store
    export GIT_SSH_VARIANT=simple GIT_SSH_COMMAND=\"$PWD/client\" GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
    export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
    git init -q work; cd work; git commit -q --allow-empty -m one; git push -q root@A:$OLDPWD/store HEAD:refs/heads/main
    git clone -q --branch main root@A:$OLDPWD/store ../copy";
const MANAGER: &str = "client \"/bin/sh -c 'echo ~root && sleep 0'\"; client -t \"/bin/sh -c '/usr/bin/python3 -c pass && sleep 0'\"
    echo 'import subprocess; subprocess.run([\"/bin/sh\", \"-c\", \"true\"]); subprocess.run([\"bash\", \"-l\", \"-c\", \"true\"])' |
        client python3 -";
/// The server keeps to mounts of its own, in which root's home and the lists of logins are empty.
const SSH: &str = "set -e
    dropbearkey -t ed25519 -f host >/dev/null 2>&1; dropbearkey -t ed25519 -f key 2>/dev/null | grep ^ssh >key.pub
    unshare --mount sh -c 'for at in /root /run /var/log; do mount -t tmpfs -o mode=755 none $at; done; mkdir -m 700 /root/.ssh
        cp key.pub /root/.ssh/authorized_keys; exec dropbear -F -E -s -r host -p A:2222 -P pid' &
    server=$!; trap 'kill $server' EXIT
    cat >client <<'END'
#!/bin/sh
as='dbclient -y -y -i LAB/key -p 2222'
[ \"$1\" = -t ] && { shift; exec script -qec \"$as -t root@A \\\"$*\\\"\" /dev/null; }
[ \"$1\" = root@A ] && shift
exec $as -T root@A \"$@\"
END
    sed -i \"s|LAB|$PWD|\" client; chmod +x client; client() { ./client \"$@\" 2>>errors; }
    until client true; do kill -0 $server; sleep 0.05; done
";
/// A package whose scripts run where it is installed.
const PACKAGE: &str = "set -e; mkdir -p p/DEBIAN root/var/lib/dpkg
    printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: p <p@example.org>\nDescription: p\n' >p/DEBIAN/control
    for script in preinst postinst prerm postrm; do
        printf '#!/bin/sh -e\nbash -lc true\nsh -c :\n' >p/DEBIAN/$script; chmod 755 p/DEBIAN/$script
    done
    dpkg-deb --build p p.deb; touch root/var/lib/dpkg/status
    dpkg --root=$PWD/root --force-script-chrootless --log=/dev/null -i p.deb
    dpkg --root=$PWD/root --force-script-chrootless --log=/dev/null -P p";

/// No rule has reported anything.
fn silence(lab: &Lab) -> Result<()> {
    let alerts = lab.reported()?;
    ensure!(alerts.is_empty(), "{alerts:.6000?}");
    Ok(())
}

/// Runs to a good end, without an alert.
fn quiet(lab: &Lab, program: &str, args: &[&str]) -> Result<()> {
    let status = lab.run(program, args)?.wait()?;
    ensure!(status.success(), "{program} ended with {status}: {}", lab.output());
    silence(lab)
}

/// Many shells and programs, as make runs them.
fn build(lab: &Lab) -> Result<()> {
    let recipe = "for n in $(seq 50); do sh -c \"cat /dev/null | sort | bash -c 'true'\"; bash -lc true; done";
    quiet(lab, "bash", &["-c", recipe])
}

/// The shell connects and ends.
fn health_check(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let check = format!("</dev/tcp/{}/{}", far.address.ip(), far.address.port());
    quiet(lab, "timeout", &["1", "bash", "-c", &check])?;
    far.accept().map(drop)
}

/// The check's process is gone when somebody logs in.
fn then_a_shell(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let check = format!("timeout 1 bash -c '</dev/tcp/{}/{}'; bash -i -c true", far.address.ip(), far.address.port());
    quiet(lab, "bash", &["-c", &check])?;
    far.accept().map(drop)
}

/// Connects in vain again and again, in the shell itself, which then executes what it was waiting for.
fn wait_for_port(lab: &Lab) -> Result<()> {
    let script =
        format!("for n in 1 2 3; do (exec 3<>/dev/tcp/{}/9) 2>/dev/null; done; exec bash -c true", lab.remote());
    quiet(lab, "bash", &["-c", &script])
}

/// socat connects, and executes nothing.
fn relay(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let _process = lab.run("socat", &["PIPE", &format!("TCP:{}", far.address)])?;
    far.accept()?;
    silence(lab)
}

/// Commands beside a server for ssh, the sessions of which stand on terminals and pipes.
fn ssh(lab: &Lab, commands: &str) -> Result<()> {
    for program in ["dropbear", "dbclient", "git", "python3"] {
        which(program)?;
    }
    quiet(
        lab,
        "bash",
        &[
            "-c",
            &format!("{SSH}{commands}")
                .replace("A:", &format!("{}:", lab.remote()))
                .replace("@A", &format!("@{}", lab.remote())),
        ],
    )
}

/// It has connected, keeps the connection, and runs steps in shells whose streams are its own.
fn runner(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let script = format!(
        "import socket, subprocess\ns = socket.create_connection(('{}', {}))\n\
         for words in (['bash', '-lc', 'true'], ['bash', '-e', '-c', 'sh -c :'], ['sh', '-i', '-c', ':']):\n \
         subprocess.run(words, check=True, capture_output=True, input=b'')",
        far.address.ip(),
        far.address.port()
    );
    quiet(lab, "python3", &["-c", &script])?;
    far.accept().map(drop)
}

/// What images begin with: it waits for a port by a program, and becomes what it was told.
fn entry_point(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let wait = format!("until nc -z {} {}; do sleep 0.1; done; exec \"$@\"", far.address.ip(), far.address.port());
    quiet(lab, "sh", &["-c", &wait, "sh", "bash", "-c", "true"])?;
    far.accept().map(drop)
}

/// An interactive shell connects by itself, and runs other shells in processes of their own. One with `-l` or `-i` is what the rule about
/// descendants asks for: `docs/detection.md` says so.
fn administrator(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let commands = format!(
        "exec 3<>/dev/tcp/{}/{} && exec 3>&-; bash -c true; sh -c :; sh -s </dev/null; true",
        far.address.ip(),
        far.address.port()
    );
    quiet(lab, "bash", &["--norc", "-i", "-c", &commands])?;
    far.accept().map(drop)
}

/// Programs that stand on a connection, and run shells elsewhere.
fn inetd(lab: &Lab) -> Result<()> {
    let at = SocketAddr::new(lab.local(), 4444);
    let listen = format!("TCP-LISTEN:4444,bind={}", at.ip());
    let script = lab.directory().join("service.pl");
    std::fs::write(
        &script,
        "unless (my $child = fork) { open STDIN, '<', '/dev/null'; open STDOUT, '>', '/dev/null'; exec 'sh', '-c', ':' }\n\
         wait; print \"done\\n\";\n",
    )?;
    let service = format!("EXEC:perl {},nofork", script.display());
    let mut process = lab.run("socat", &[&listen, &service])?;
    let mut said = String::new();
    lab.connect(lab.remote(), at)?.read_to_string(&mut said)?;
    process.wait()?;
    ensure!(said == "done\n", "the service says {said:?}: {}", lab.output());
    silence(lab)
}
