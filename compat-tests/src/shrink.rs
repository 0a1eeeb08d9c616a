//! Makes a differing script small: delta debugging over its steps and requests, then plain values.

use anyhow::Result;

use crate::compare::Difference;
use crate::oracle::{Finding, Pair};
use crate::script::{Script, Step};
use crate::wire::{Request, Value, spec};

/// Runs spent on one finding.
const RUNS_MAX: usize = 600;

struct Shrinker<'a> {
    pair: &'a mut Pair,
    best: Finding,
    runs: usize,
}

/// The smallest script found that still makes the pair differ.
///
/// # Errors
/// When a server cannot be started.
pub fn shrink(pair: &mut Pair, script: &Script, difference: Difference) -> Result<Finding> {
    eprintln!(
        "{difference}\nmaking the script of {} requests smaller",
        script.requests()
    );
    let best = Finding {
        script: script.clone(),
        difference,
    };
    let mut shrinker = Shrinker {
        pair,
        best,
        runs: 0,
    };
    shrinker.cut_behind()?;
    loop {
        let before = shrinker.best.script.clone();
        shrinker.drop_units()?;
        shrinker.plain_values()?;
        if shrinker.best.script == before {
            break;
        }
    }
    shrinker.pair.restart();
    Ok(shrinker.best)
}

impl Shrinker<'_> {
    /// Takes the candidate when it still makes a difference.
    fn takes(&mut self, script: Script) -> Result<bool> {
        if self.runs >= RUNS_MAX {
            return Ok(false);
        }
        self.runs += 1;
        let found = self.pair.run(&script)?;
        if let Some(difference) = found {
            eprintln!("run {}: {} requests", self.runs, script.requests());
            self.best = Finding { script, difference };
            return Ok(true);
        }
        Ok(false)
    }

    /// What comes after the difference does not matter.
    fn cut_behind(&mut self) -> Result<()> {
        let mut script = self.best.script.clone();
        script.steps.truncate(self.best.difference.step + 1);
        if script != self.best.script {
            self.takes(script)?;
        }
        Ok(())
    }

    /// Leaves out ever smaller runs of steps and requests.
    fn drop_units(&mut self) -> Result<()> {
        let mut size = units(&self.best.script).len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < units(&self.best.script).len() {
                let all = units(&self.best.script);
                let until = (from + size).min(all.len());
                let candidate = without(&self.best.script, &all[from..until]);
                if !self.takes(candidate)? {
                    from = until;
                }
            }
            size /= 2;
        }
        Ok(())
    }

    /// Replaces each value by its default, each multi by one without this operation.
    fn plain_values(&mut self) -> Result<()> {
        for Unit { step, request } in units(&self.best.script) {
            let Some(request) = request else { continue };
            let Some(old) = self
                .best
                .script
                .steps
                .get(step)
                .and_then(|step| step.requests().get(request))
            else {
                continue;
            };
            for plain in plainer(old) {
                let mut script = self.best.script.clone();
                let place = script.steps[step]
                    .requests_mut()
                    .and_then(|requests| requests.get_mut(request));
                if let Some(place) = place {
                    *place = plain;
                }
                // A step forward may have outdated the other ideas; the next round has new ones.
                if self.takes(script)? {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A step, or one request of a step that has several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Unit {
    step: usize,
    request: Option<usize>,
}

fn units(script: &Script) -> Vec<Unit> {
    let mut units = Vec::new();
    for (index, step) in script.steps.iter().enumerate() {
        if !matches!(step, Step::Send { .. }) {
            units.push(Unit {
                step: index,
                request: None,
            });
        }
        units.extend((0..step.requests().len()).map(|request| Unit {
            step: index,
            request: Some(request),
        }));
    }
    units
}

fn without(script: &Script, dropped: &[Unit]) -> Script {
    let dropped: std::collections::HashSet<&Unit> = dropped.iter().collect();
    let mut steps = Vec::new();
    for (index, step) in script.steps.iter().enumerate() {
        let mut step = step.clone();
        if let Some(requests) = step.requests_mut() {
            let mut place = 0;
            requests.retain(|_| {
                let unit = Unit {
                    step: index,
                    request: Some(place),
                };
                place += 1;
                !dropped.contains(&unit)
            });
        }
        let gone = match &step {
            Step::Send { requests, .. } => requests.is_empty(),
            _ => dropped.contains(&Unit {
                step: index,
                request: None,
            }),
        };
        if !gone {
            steps.push(step);
        }
    }
    Script {
        config: script.config.clone(),
        steps,
    }
}

/// Requests that say the same a little more simply.
fn plainer(request: &Request) -> Vec<Request> {
    let mut ideas = Vec::new();
    let mut idea = |change: &dyn Fn(&mut Request)| {
        let mut copy = request.clone();
        change(&mut copy);
        if copy != *request {
            ideas.push(copy);
        }
    };
    idea(&|copy| copy.xid = None);
    idea(&|copy| copy.cut = 0);
    idea(&|copy| copy.extra.clear());
    idea(&|copy| copy.endless = false);
    let defaults = spec(request.code).map_or(&[][..], |op| op.fields);
    for (index, field) in defaults.iter().enumerate() {
        match &request.values[index] {
            Value::Requests(inner) => {
                for place in 0..inner.len() {
                    idea(&|copy| {
                        if let Value::Requests(inner) = &mut copy.values[index] {
                            inner.remove(place);
                        }
                    });
                    for plain in plainer(&inner[place]) {
                        idea(&|copy| {
                            if let Value::Requests(inner) = &mut copy.values[index] {
                                inner[place] = plain.clone();
                            }
                        });
                    }
                }
            }
            // The path is what ties requests together.
            _ if field.name == "path" => {}
            // A TTL request with another flag needs a ttl, or a real server stops.
            _ if request.code == 21 => {}
            _ => idea(&|copy| copy.values[index] = (field.default)()),
        }
    }
    ideas
}
