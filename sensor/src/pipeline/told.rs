//! What leaves the sensor of what it knows: without secrets, and of the environment the variables that are wanted. What is judged is what
//! it knows.

use super::Pipeline;
use crate::detect::redact::Redactor;
use crate::enrich::runtime::Runtimes;
use crate::event::Exec;
use crate::event::ecs::{Extras, Known, ParentProgram};
use crate::event::facts::Field;

impl Pipeline {
    /// What is taken out of arguments from now on.
    pub fn set_redactor(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }

    /// Variables of a shell's environment that are told from now on.
    pub fn set_environment(&mut self, names: Vec<String>) {
        self.environment = names;
    }

    /// Where the names of containers are looked up.
    pub fn set_runtimes(&mut self, runtimes: Runtimes) {
        self.runtimes = runtimes;
    }

    /// An execution as it is told; none if that is all of it.
    pub(super) fn told(&self, event: &Exec, extras: &Extras) -> Option<(Exec, Extras)> {
        let args = self.redactor.args(&event.args, Field::Args);
        let parent = self.told_program(extras.parent.as_ref());
        if args.is_none() && parent.is_none() {
            return None;
        }
        let event = Exec { args: args.unwrap_or_else(|| event.args.clone()), ..event.clone() };
        let extras = Extras { parent: parent.or_else(|| extras.parent.clone()), ..extras.clone() };
        Some((event, extras))
    }

    /// Ancestors as they are told.
    pub(super) fn told_ancestors(&self, known: &mut [Known]) {
        for one in known {
            if let Some(program) = self.told_program(one.program.as_ref()) {
                one.program = Some(program);
            }
        }
    }

    fn told_program(&self, program: Option<&ParentProgram>) -> Option<ParentProgram> {
        let program = program?;
        let args = self.redactor.args(&program.args, Field::ParentArgs)?;
        Some(ParentProgram { args, source: program.source })
    }
}
