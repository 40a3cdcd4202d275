//! All switches: name, value, effect, rows of the fault catalogue, and setter.
use super::{
    super::{
        AfterFinish, Fault, HeadKind, Mode, Script, TOKENS_MAX, UsageKind,
        chat::{SPELLS, Spell},
        spelling::LineEnd,
        value::Setting,
    },
    Set, Switch,
};

mod answer;
mod head;
mod stream;

/// Every switch, in the order of the document.
pub(super) const ALL: [&[Switch]; 3] = [answer::ALL, head::ALL, stream::ALL];

/// A spelling of the chat dialect by its name.
fn spell(setting: &Setting) -> Result<&'static Spell, String> {
    let names: Vec<_> = SPELLS.iter().map(|spell| (spell.name, spell)).collect();
    setting.one_of(&names)
}

/// A switch that shapes a good answer.
const fn shape(name: &'static str, value: &'static str, help: &'static str, set: Set) -> Switch {
    Switch { name, value, rows: "", help, fault: false, set }
}

/// A switch that causes a fault.
const fn fault(
    name: &'static str,
    value: &'static str,
    rows: &'static str,
    help: &'static str,
    set: Set,
) -> Switch {
    Switch { name, value, rows, help, fault: true, set }
}

/// Assigns a value.
fn put<T>(place: &mut T, value: T) -> Result<(), String> {
    *place = value;
    Ok(())
}

/// Adds a fault after a number of deltas; without a value, at the end of the text.
fn after(script: &mut Script, setting: &Setting, fault: Fault) -> Result<(), String> {
    let deltas = setting.count_or(TOKENS_MAX + 1, TOKENS_MAX)?;
    at(script, deltas, fault)
}

fn at(script: &mut Script, deltas: u64, fault: Fault) -> Result<(), String> {
    script.faults.push((deltas, fault));
    Ok(())
}

fn head(script: &mut Script, setting: &Setting, kind: HeadKind) -> Result<(), String> {
    let on = setting.flag()?;
    put(&mut script.head.kind, on.then_some(kind))
}

fn behind(script: &mut Script, what: AfterFinish) -> Result<(), String> {
    script.after_finish.push(what);
    Ok(())
}

fn line_end(script: &mut Script, setting: &Setting, end: LineEnd) -> Result<(), String> {
    let on = setting.flag()?;
    put(&mut script.spelling.line_end, if on { end } else { LineEnd::Lf })
}

fn usage(script: &mut Script, setting: &Setting, kind: UsageKind) -> Result<(), String> {
    let on = setting.flag()?;
    put(&mut script.usage, if on { kind } else { UsageKind::RunningTotals })
}

fn cumulative(script: &mut Script, setting: &Setting, fault: Fault) -> Result<(), String> {
    script.mode = Some(Mode::Cumulative);
    after(script, setting, fault)
}

/// Parses `N:TEXT` and adds the fault made of the text.
fn given(script: &mut Script, setting: &Setting, fault: fn(Vec<u8>) -> Fault) -> Result<(), String> {
    let value = setting.string()?;
    let (at, text) = value.split_once(':').ok_or("N:TEXT is wanted")?;
    let deltas = at
        .parse()
        .ok()
        .filter(|deltas| *deltas <= TOKENS_MAX)
        .ok_or_else(|| format!("{at:?} is not a number of deltas"))?;
    script.faults.push((deltas, fault(text.as_bytes().to_vec())));
    Ok(())
}
