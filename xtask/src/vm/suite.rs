//! Suites: which of the end-to-end tests a guest runs, and what it needs for them.

use super::expected::Expected;
use super::machine::DISK;
use super::protocol::Plan;
use std::path::PathBuf;

/// A suite.
pub(crate) struct Tests {
    pub(crate) name: &'static str,
    /// What a guest has. Each sensor takes 40 MiB for a moment when it reads the kernel's types, tests start several at
    /// once, and the suite itself keeps all documents, which takes 100 MiB.
    pub(crate) memory_mib: u32,
    /// Two for tests, since much goes wrong only with more than one.
    pub(crate) cpus: u32,
    /// The file with its root; none for a root in memory that has nothing but the programs of the tests.
    pub(crate) disk: Option<PathBuf>,
    /// Whether the system on the disk is started, and the tests are those of the service.
    pub(crate) service: bool,
    /// Whether the kinds of hooks that the sensor does not take by itself are forced, one after the other.
    pub(crate) each_hook: bool,
    /// Arguments that choose the tests. Storms take minutes where a processor is emulated, and are skipped by name.
    pub(crate) arguments: &'static [&'static str],
}

impl Tests {
    /// Those that need nothing but the kernel, with each hook.
    pub(crate) fn core() -> Self {
        let arguments = &["--jobs", "3", "not:userland", "--no-storms"];
        Self { name: "core", memory_mib: 768, cpus: 2, disk: None, service: false, each_hook: true, arguments }
    }

    /// All of them on a distribution, with the hooks that the sensor chooses.
    pub(crate) fn shells(image: PathBuf) -> Self {
        let (arguments, disk) = (&["--jobs", "3", "--no-storms"], Some(image));
        Self { name: "shells", memory_mib: 768, cpus: 2, disk, service: false, each_hook: false, arguments }
    }

    /// None of them: it is measured what they would make the programs of the kernel side do. One processor, whose instructions
    /// are counted.
    pub(crate) fn cost() -> Self {
        Self { name: "cost", memory_mib: 384, cpus: 1, disk: None, service: false, each_hook: false, arguments: &[] }
    }

    /// Those of the service, under the distribution's systemd.
    pub(crate) fn service(image: PathBuf) -> Self {
        let disk = Some(image);
        Self { name: "systemd", memory_mib: 768, cpus: 2, disk, service: true, each_hook: false, arguments: &[] }
    }

    /// What a guest is to do.
    pub(crate) fn plan(&self, expected: &Expected, filter: Option<&str>) -> Plan {
        let arguments: Vec<&str> = self.arguments.iter().copied().chain(filter).collect();
        let mut plan = expected.plan(&arguments);
        plan.disk = self.disk.is_some().then(|| DISK.to_owned());
        plan.service = self.service;
        if !self.each_hook {
            plan.refusals.clear();
            plan.runs.truncate(1);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::super::expected::tests::of;
    use super::*;

    #[test]
    fn a_distribution_has_all_tests_once() {
        let plan = Tests::shells("root.ext4".into()).plan(&of("6.1"), Some("bash"));
        let runs: Vec<_> = plan.runs.iter().map(|run| format!("{} {}", run.name, run.arguments.join(" "))).collect();
        assert_eq!(runs, ["auto --jobs 3 --no-storms bash"]);
        assert_eq!((plan.disk.as_deref(), plan.refusals.len()), (Some(DISK), 0));
    }

    #[test]
    fn a_service_has_tests_of_its_own() {
        let plan = Tests::service("root.ext4".into()).plan(&of("6.1"), Some("watchdog"));
        let runs: Vec<_> = plan.runs.iter().map(|run| format!("{} {}", run.name, run.arguments.join(" "))).collect();
        assert_eq!(runs, ["auto watchdog"]);
        assert!(plan.service && plan.disk.is_some() && !Tests::core().plan(&of("6.1"), None).service);
    }

    #[test]
    fn without_one_each_hook_is_forced_or_refused() {
        let plan = Tests::core().plan(&of("6.1"), None);
        assert_eq!((plan.runs.len(), plan.refusals.len(), plan.disk), (4, 1, None));
        assert!(plan.runs.iter().all(|run| run.arguments.iter().any(|argument| argument == "not:userland")));
    }
}
