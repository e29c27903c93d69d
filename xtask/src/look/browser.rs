//! Chromium without a window, in a network of its own that leads nowhere, driven by its DevTools protocol over a pair of pipes
//! (`--remote-debugging-pipe`: JSON, each message ended by a null byte). A library for that protocol would bring some hundred
//! thousand lines; a message and its answer are all that is needed.

use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an answer is waited for: a browser that is well but on a busy machine needs less.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(20);
/// Chromium's programs, as Debian calls them, the smaller one first.
const PROGRAMS: [&str; 2] = ["chromium-headless-shell", "chromium"];

/// A browser with one page. It ends with everything it has started when this is dropped.
pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    next: u64,
    /// That of the page, once there is one.
    session: Option<String>,
    /// What the page has told since it was opened.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    pub(super) fn start() -> Result<Self> {
        let program = program().context("no Chromium")?;
        let profile = TempDir::new()?;
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        // The first process of a namespace takes all others with it.
        command.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child=KILL", "sh", "-c"]);
        // It reads commands from descriptor 3 and answers on 4.
        command.args(["exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"]).arg(program);
        command.args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        command.arg("--hide-scrollbars").arg(format!("--user-data-dir={}", profile.path().display()));
        command
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("unshare")?;
        let (to, mut from_child) =
            (child.stdin.take().context("stdin")?, BufReader::new(child.stdout.take().context("stdout")?));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while from_child.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let text = message.strip_suffix(&[0]).unwrap_or(&message);
                let Ok(value) = serde_json::from_slice(text) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self { child, to, from, next: 0, session: None, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let target = target.get("targetId").context("no target")?;
        let session = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}))?;
        browser.session = Some(session.get("sessionId").and_then(Value::as_str).context("no session")?.to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "Performance"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Opens a file and waits until it is loaded.
    pub(super) fn open(&mut self, path: &Path) -> Result<()> {
        self.events.clear();
        self.call("Page.navigate", &json!({"url": format!("file://{}", path.display())}))?;
        let start = Instant::now();
        while self.told("Page.loadEventFired").is_empty() {
            let message = self.message(start)?;
            self.events.push(message);
        }
        Ok(())
    }

    /// What the page has told under a name since it was opened.
    pub(super) fn told(&self, method: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event.get("method").is_some_and(|own| own == method)).collect()
    }

    /// The value of an expression in the page.
    pub(super) fn value(&mut self, expression: &str) -> Result<Value> {
        let answer = self.call(
            "Runtime.evaluate",
            &json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        )?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("`{expression:.100}`: {thrown}");
        }
        Ok(answer.pointer("/result/value").cloned().unwrap_or_default())
    }

    /// Presses a key, such as `Enter`; `text` is what it writes.
    pub(super) fn press(&mut self, key: &str, text: &str) -> Result<()> {
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            _ => 0,
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", &event)?;
        let event = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", &event).map(drop)
    }

    /// A number that the browser keeps, such as `LayoutCount`.
    pub(super) fn metric(&mut self, name: &str) -> Result<f64> {
        let metrics = self.call("Performance.getMetrics", &json!({}))?;
        let metrics = metrics.get("metrics").and_then(Value::as_array).context("no metrics")?;
        let metric = metrics.iter().find(|metric| metric.get("name").is_some_and(|own| own == name));
        metric.and_then(|metric| metric.get("value")?.as_f64()).with_context(|| name.to_owned())
    }

    /// Calls a method of the protocol and returns its result.
    pub(super) fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message.as_object_mut().and_then(|message| message.insert("sessionId".to_owned(), json!(session)));
        }
        self.to.write_all(format!("{message}\0").as_bytes()).context("the browser has ended")?;
        let start = Instant::now();
        loop {
            let message = self.message(start)?;
            if message.get("id") != Some(&json!(self.next)) {
                self.events.push(message);
                continue;
            }
            ensure!(message.get("error").is_none(), "{method}: {message}");
            return Ok(message.get("result").cloned().unwrap_or_default());
        }
    }

    fn message(&self, since: Instant) -> Result<Value> {
        self.from.recv_timeout(PATIENCE.saturating_sub(since.elapsed())).context("the browser does not answer")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // unshare(1) ends when all processes of the namespace have: only then nobody writes to the profile any more.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let start = Instant::now();
        while start.elapsed() < FAREWELL && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // One that does not end by itself.
        let killed = self.child.kill();
        if let Err(error) = killed.and(self.child.wait()) {
            eprintln!("the browser: {error}");
        }
    }
}

/// The program, if it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|program| shell::find(program))
}
