//! Another configuration for a sensor at work, as far as it can have it: the kernel side's settings are flipped, no program is touched,
//! and an output is changed only as far as the start has kept the right to it. Of anything else it is told that it needs a restart.

use super::needs::needs;
use super::outputs::{self, Wanted, local, transport, wanted};
use super::watch::Watch;
use super::{Options, parameters, put_in_force};
use crate::config::{Config, ConfigError, Evidence, Output, Place};
use crate::kernel::load::Loaded;
use crate::output::Outputs;
use crate::output::switch::Switch;
use crate::pipeline::Pipeline;
use crate::privileges::Needs;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a reload goes by: how the sensor was started, and what it has kept.
pub(super) struct Reload {
    pub(super) options: Options,
    pub(super) config_path: Option<PathBuf>,
    /// What is in force.
    pub(super) config: Config,
    /// What the start has kept.
    pub(super) needs: Needs,
    pub(super) switches: BTreeMap<&'static str, Switch>,
}

impl Reload {
    /// Reads the configuration again and puts it in force. What of it needs a restart: the keys, some with a reason.
    ///
    /// # Errors
    /// The configuration is not valid: nothing has changed then.
    pub(super) fn read_again(
        &mut self,
        loaded: &mut Loaded,
        pipeline: &mut Pipeline,
        watch: &mut Watch,
    ) -> Result<Vec<String>, ConfigError> {
        let new = Config::load(self.config_path.as_deref())?;
        loaded.settings.write(&new.kernel_slot());
        pipeline.set_parameters(&parameters(&new));
        put_in_force(pipeline, &new);
        watch.set_heartbeat(new.life.heartbeat);
        pipeline.outputs_mut().set_life(outputs::life(&new.life));
        self.config.rule = new.rule.clone();
        self.config.exception = new.exception.clone();
        let runtimes = std::mem::take(&mut self.config.evidence.runtimes);
        self.config.evidence = Evidence { runtimes, ..new.evidence.clone() };
        self.config.noise = new.noise.clone();
        self.config.life = new.life.clone();
        let reasons = self.outputs(&new, pipeline.outputs_mut());
        let restart = self.config.restart_needed(&new).into_iter().map(|key| match reasons.get(key) {
            Some(reason) => format!("{key} ({reason})"),
            None => key.to_owned(),
        });
        Ok(restart.collect())
    }

    /// Brings the outputs in line, as far as possible; for those that stay as they were, why.
    fn outputs(&mut self, new: &Config, outputs: &mut Outputs) -> BTreeMap<&'static str, String> {
        let old = self.config.output.clone();
        let mut reasons = BTreeMap::new();
        for place in Place::ALL {
            let before = wanted(&self.options, &old, place);
            let after = wanted(&self.options, &new.output, place);
            let changed =
                if before == after { Ok(()) } else { self.change(place, before.is_some(), after, new, outputs) };
            match changed {
                Ok(()) => adopt(&mut self.config.output, &new.output, place),
                Err(reason) => drop(reasons.insert(key(place), reason)),
            }
        }
        reasons
    }

    /// Changes one of them.
    fn change(
        &self,
        place: Place,
        was_there: bool,
        after: Option<Wanted>,
        new: &Config,
        outputs: &mut Outputs,
    ) -> Result<(), String> {
        let mut candidate = self.config.clone();
        adopt(&mut candidate.output, &new.output, place);
        if !self.needs.cover(&needs(&self.options, &candidate, self.config_path.as_deref())) {
            return Err("the sensor has given up the right to it".to_owned());
        }
        let switch = self.switches.get(place.name()).filter(|_| was_there);
        match (after, switch) {
            (Some(after @ (Wanted::Elasticsearch(_) | Wanted::Syslog(_))), Some(switch)) => {
                switch.put(transport(&after).map_err(|error| format!("{error:#}"))?);
                Ok(())
            }
            _ if !outputs.can_take_away() => Err("earlier outputs are still at their last documents".to_owned()),
            (None, _) => {
                outputs.take_away(place.name());
                Ok(())
            }
            (Some(after), _) => {
                let queue = local(&self.options, &after).map_err(|error| format!("{error:#}"))?;
                outputs.put(queue.ok_or("its spool is opened at the start alone")?);
                Ok(())
            }
        }
    }
}

/// The key of an output.
fn key(place: Place) -> &'static str {
    match place {
        Place::Stdout => "output.stdout",
        Place::File => "output.file",
        Place::Journal => "output.journal",
        Place::Elasticsearch => "output.elasticsearch",
        Place::Syslog => "output.syslog",
    }
}

/// Takes over what another configuration says of one output.
fn adopt(output: &mut Output, new: &Output, place: Place) {
    match place {
        Place::Stdout => output.stdout = new.stdout,
        Place::File => output.file.clone_from(&new.file),
        Place::Journal => output.journal = new.journal,
        Place::Elasticsearch => output.elasticsearch.clone_from(&new.elasticsearch),
        Place::Syslog => output.syslog.clone_from(&new.syslog),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn read(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    fn started(config: &str) -> (Reload, Outputs) {
        let options = Options { events: None, heartbeat: None, host_name: None, format: None };
        let config = read(config);
        let outputs::Opened { outputs, switches } = outputs::open(&options, &config).unwrap();
        let needs = needs(&options, &config, Some(Path::new("/etc/sensor/sensor.toml")));
        let config_path = Some("/etc/sensor/sensor.toml".into());
        (Reload { options, config_path, config, needs, switches }, outputs)
    }

    /// The keys that need a restart when this is read.
    fn reload(reload: &mut Reload, outputs: &mut Outputs, config: &str) -> Vec<String> {
        let new = read(config);
        let reasons = reload.outputs(&new, outputs);
        let keys = reload.config.restart_needed(&new);
        assert!(reasons.keys().all(|key| keys.contains(key)), "{reasons:?} {keys:?}");
        keys.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_file_can_change_within_its_directory_alone() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let to = |path: &Path| format!("[output]\nstdout = false\nfile = '{}'\n", path.display());
        let [first, second, far] =
            [folder.path().join("first"), folder.path().join("second"), other.path().join("third")];
        let (mut running, mut outputs) = started(&to(&first));
        outputs.alert(json!(1));
        assert!(reload(&mut running, &mut outputs, &to(&second)).is_empty());
        outputs.alert(json!(2));
        assert_eq!(reload(&mut running, &mut outputs, &to(&far)), ["output.file"]);
        outputs.alert(json!(3));
        assert!(reload(&mut running, &mut outputs, "output.stdout = false").is_empty());
        outputs.alert(json!(4));
        assert!(reload(&mut running, &mut outputs, &to(&first)).is_empty());
        outputs.alert(json!(5));
        let stats = outputs.close();
        assert!(stats.iter().all(|(_, stats)| stats.queued == 4 && stats.delivered == 4), "{stats:?}");
        // What was taken away writes its last documents while the next one, to the same file, is at work already.
        let lines = |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert_eq!([lines(&first), lines(&second)], [["1", "5"], ["2", "3"]].map(|two| two.map(str::to_owned).into()));
        assert!(!far.exists());
    }

    #[test]
    fn a_server_can_be_called_otherwise_but_not_at_another_port_or_for_the_first_time() {
        let folder = tempfile::tempdir().unwrap();
        let spool = format!("[output]\nstdout = false\nspool.directory = '{}'\n", folder.path().display());
        let to = |keys: &str| format!("{spool}{keys}\n");
        let (mut running, mut outputs) = started(&to("elasticsearch.url = 'http://127.0.0.1:1'"));
        for (keys, restart) in [
            ("elasticsearch.url = 'http://localhost:1/path'", None),
            ("elasticsearch = { url = 'http://127.0.0.1:1', data_stream = 'x' }", None),
            ("elasticsearch.url = 'http://127.0.0.1:2'", Some("output.elasticsearch")),
            ("elasticsearch = { url = 'http://127.0.0.1:1', api_key_file = '/srv/key' }", Some("output.elasticsearch")),
            (
                "elasticsearch = { url = 'http://127.0.0.1:1', api_key_file = '/etc/absent' }",
                Some("output.elasticsearch"),
            ),
            (
                "elasticsearch = { url = 'http://127.0.0.1:1', data_stream = 'x' }\nsyslog.to = 'tcp://127.0.0.1:1'",
                Some("output.syslog"),
            ),
            ("spool.bytes = 2000000\nelasticsearch.url = 'http://127.0.0.1:1'", Some("output.spool")),
            ("", None),
            ("elasticsearch.url = 'http://127.0.0.1:1'", Some("output.elasticsearch")),
        ] {
            let got = reload(&mut running, &mut outputs, &to(keys));
            assert_eq!(got.first().map(String::as_str), restart, "{keys}");
        }
        let _ = outputs.close();
    }

    #[test]
    fn outputs_that_do_not_end_are_not_left_behind_without_bound() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // Somebody who does not read.
        let _reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let to = |stuck: bool| {
            if stuck {
                format!("output = {{ stdout = false, file = '{}' }}", pipe.display())
            } else {
                "output.stdout = false".to_owned()
            }
        };
        let (mut running, mut outputs) = started(&to(true));
        let mut refused = 0;
        for _ in 0..10 {
            for _ in 0..20 {
                outputs.alert(json!("x".repeat(10_000)));
            }
            refused += reload(&mut running, &mut outputs, &to(false)).len();
            refused += reload(&mut running, &mut outputs, &to(true)).len();
        }
        assert!(refused > 0 && !outputs.can_take_away());
    }
}
