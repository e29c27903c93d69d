//! What `deploy/prometheus` has, by Prometheus's own tool: the alert rules are rules and fire when they should and only then
//! (`tests/monitoring`), and the dashboard's queries are queries. That the metrics they ask for exist is a test of the running sensor
//! (`tests/src/cases/metrics.rs`).
//!
//! The tool comes from Debian's package, which is unpacked below `target/` and not installed: it would start a server.

use crate::tally::{self, Tally};
use crate::{apt, shell};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOL: &str = "promtool";
const PACKAGE: &str = "prometheus";
const RULES: &str = "deploy/prometheus/sensor-rules.yml";
const DASHBOARD: &str = "deploy/prometheus/grafana-dashboard.json";
const TESTS: &str = "tests/monitoring/sensor-rules-test.yml";
/// What Grafana puts into queries, and something in its place: a duration, and a regular expression.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "5m"), ("$instance", ".*")];

/// Checks all of it. Where the tool cannot be had this is one test skipped.
pub(crate) fn check(root: &Path) -> Result<Tally> {
    let tool = match obtain(root) {
        Ok(tool) => tool,
        Err(error) => {
            println!("skipped the alert rules and the dashboard: {TOOL} cannot be had here: {error:#}");
            return Ok(Tally::SKIPPED);
        }
    };
    let mut sum = Tally::default();
    let queries = tempfile::Builder::new().suffix(".yml").tempfile()?;
    let dashboard = std::fs::read(root.join(DASHBOARD)).context(DASHBOARD)?;
    let dashboard = serde_json::from_slice(&dashboard).context(DASHBOARD)?;
    std::fs::write(queries.path(), as_rules(&dashboard)?.to_string())?;
    let checks: [(&str, &[&str], &Path); 3] = [
        ("the alert rules are rules", &["check", "rules"], &root.join(RULES)),
        ("the alert rules fire when they should", &["test", "rules"], &root.join(TESTS)),
        ("the dashboard's queries are queries", &["check", "rules"], queries.path()),
    ];
    for (name, arguments, file) in checks {
        sum += tally::told(name, shell::output(Command::new(&tool).args(arguments).arg(file)).map(drop));
    }
    Ok(sum)
}

/// The tool that is installed, or Debian's, fetched once.
fn obtain(root: &Path) -> Result<PathBuf> {
    if let Some(tool) = shell::find(TOOL) {
        return Ok(tool);
    }
    let directory = root.join("target/monitoring");
    let kept = directory.join(TOOL);
    if shell::is_program(&kept) {
        return Ok(kept);
    }
    ensure!(apt::is_debian(), "it is not installed");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let fetched = tempfile::Builder::new().prefix("fetch-").tempdir_in(&directory)?;
    let mut command = Command::new("apt-get");
    command.args(["download", "--quiet=2", PACKAGE]).current_dir(fetched.path());
    apt::say(&command);
    if shell::run(&mut command).is_err() {
        apt::update()?;
        shell::run(&mut command)?;
    }
    let mut files = std::fs::read_dir(fetched.path())?.filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.find(|path| path.extension().is_some_and(|end| end == "deb")).context("no package came")?;
    let content = fetched.path().join("content");
    shell::run(Command::new("dpkg-deb").arg("--extract").args([&package, &content]))?;
    std::fs::rename(content.join("usr/bin").join(TOOL), &kept).with_context(|| kept.display().to_string())?;
    Ok(kept)
}

/// The queries of a dashboard as recording rules, in JSON, which is YAML too.
fn as_rules(dashboard: &Value) -> Result<Value> {
    let panels = dashboard.get("panels").and_then(Value::as_array).context("no panels")?;
    let mut rules = Vec::new();
    for target in panels.iter().filter_map(|panel| panel.get("targets")?.as_array()).flatten() {
        let query = target.get("expr").and_then(Value::as_str).with_context(|| format!("no query: {target}"))?;
        let query = VARIABLES.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
        ensure!(!query.contains('$'), "an unknown variable: {query}");
        rules.push(json!({"record": format!("query_{}", rules.len()), "expr": query}));
    }
    ensure!(!rules.is_empty(), "no queries");
    Ok(json!({"groups": [{"name": "dashboard", "rules": rules}]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_rules() {
        let dashboard = |query: &str| json!({"panels": [{"title": "t"}, {"targets": [{"expr": query}]}]});
        let rules = as_rules(&dashboard("rate(a{instance=~\"$instance\"}[$__rate_interval])")).unwrap();
        let rule = rules.pointer("/groups/0/rules/0").unwrap();
        assert_eq!(*rule, json!({"record": "query_0", "expr": "rate(a{instance=~\".*\"}[5m])"}));
        assert!(as_rules(&dashboard("$unknown")).is_err());
        assert!(as_rules(&json!({"panels": []})).is_err());
    }
}
