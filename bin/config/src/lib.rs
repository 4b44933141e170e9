//! Everything between what an operator says and what is meant.
//!
//! In: a `KubeProxyConfiguration` (v1alpha1, YAML or JSON) and kube-proxy's flags. Out: [`Meant`],
//! checked by kube-proxy's rules, with warnings; or every broken rule at once. Names, defaults and
//! precedence are kube-proxy's, so that its files and command lines go on working. Nothing here asks
//! the kernel or the API, and nothing is read but the one file of `--config`.
//!
//! [`load`] is the entry; [`write_config`], [`configz`], [`reload`] and [`Meant::check_startup`]
//! answer what follows. `docs/flags.md` lists every field and flag.

mod address;
mod apply;
mod check;
mod decode;
mod defaults;
mod document;
mod duration;
mod error;
pub mod fields;
pub mod flags;
mod gates;
mod meant;
mod notes;
mod policy;
mod reload;
mod startup;
pub mod v1alpha1;
mod write;

use std::path::Path;

pub use address::{NodeIps, detect_node_ips};
pub use defaults::{HEALTHZ_PORT, METRICS_PORT};
pub use duration::{BadDuration, MetaDuration};
pub use error::{Error, Fault, Warning};
pub use flags::{ProxyFlags, normalize};
pub use gates::{FeatureGates, Gate, gates};
pub use meant::{Conntrack, LogFormat, Logging, Meant, Pace, ProxyMode, Source, Task};
pub use policy::{ExistingConnections, NetworkPolicy, NetworkPolicyMode};
pub use reload::{Fixed, Part, Reload, reload};
pub use startup::{StartupCheck, StartupFacts};
pub use write::{WrittenConfig, configz, write_config};

use crate::fields::Effect;
use crate::notes::Notes;
use crate::v1alpha1::{API_VERSION, KIND, KubeProxyConfiguration};

/// Reads the file of `--config`, if there is one, and says what is meant.
///
/// `host_name` is what the host calls itself; it names the node unless the operator does.
///
/// # Errors
/// [`Error`]: the file cannot be read or decoded, or rules are broken.
pub fn load(flags: &ProxyFlags, host_name: &str) -> Result<(Meant, Vec<Warning>), Error> {
    let Some(path) = &flags.process.config else { return understand(flags, None, host_name) };
    let text = read(path)?;
    understand(flags, Some(&text), host_name)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// Says what is meant by flags, and by the text of the file where one was given: [`load`] without
/// the reading.
///
/// # Errors
/// [`Error::Decode`], [`Error::Kind`] or [`Error::Invalid`].
pub fn understand(
    flags: &ProxyFlags,
    file: Option<&str>,
    host_name: &str,
) -> Result<(Meant, Vec<Warning>), Error> {
    let mut notes = Notes { by_flags: file.is_none(), ..Notes::default() };
    let mut config = match file {
        Some(text) => {
            let path = flags.process.config.as_deref().unwrap_or(Path::new("the configuration"));
            let mut config = decode_file(&path.display().to_string(), text, &mut notes)?;
            defaults::fill(&mut config);
            apply::beside_file(flags, &mut config, &mut notes);
            config
        }
        None => {
            let mut config = defaults::configuration();
            apply::over_defaults(flags, &mut config, &mut notes);
            config
        }
    };
    defaults::fill_for_linux(&mut config);
    without_effect(&config, &mut notes);
    let meant = check::meant(config, flags, host_name, &mut notes);
    if notes.faults.is_empty() { Ok((meant, notes.warnings)) } else { Err(invalid(notes)) }
}

fn invalid(mut notes: Notes) -> Error {
    notes.faults.sort();
    notes.faults.dedup();
    Error::Invalid(notes.faults)
}

/// The configuration as a file says it, without defaults.
fn decode_file(file: &str, text: &str, notes: &mut Notes) -> Result<KubeProxyConfiguration, Error> {
    let failed = |line: usize, problem| Error::Decode {
        file: file.into(),
        // Where the parser knows no line, it is the text as a whole.
        line: line.max(1),
        problem,
    };
    let (document, more) =
        document::read(text).map_err(|error| failed(error.line, error.reason))?;
    if document.value == document::Value::Null {
        let (api_version, kind) = Default::default();
        return Err(Error::Kind { file: file.into(), api_version, kind });
    }
    let (config, deviations) = decode::read::<KubeProxyConfiguration>(&document)
        .map_err(|misfit| failed(misfit.line, misfit.to_string()))?;
    if config.api_version != API_VERSION || config.kind != KIND {
        return Err(Error::Kind {
            file: file.into(),
            api_version: config.api_version,
            kind: config.kind,
        });
    }
    if more {
        notes.warn(file, "holds several documents; the first one counts");
    }
    for deviation in deviations {
        notes.warn(&deviation.path, deviation.to_string());
    }
    Ok(config)
}

/// Warns of every field that says something and has no effect.
fn without_effect(config: &KubeProxyConfiguration, notes: &mut Notes) {
    let (said, default) = (write::leaves(config), write::leaves(&defaults::configuration()));
    for entry in fields::TABLE.iter().filter(|entry| entry.effect == Effect::Ignored) {
        let Some(field) = entry.field else { continue };
        let of_other_mode = field.starts_with("ipvs.") && config.mode != "ipvs";
        if said.get(field) != default.get(field) && !of_other_mode {
            notes.warn(field, format!("has no effect: {}", entry.note));
        }
    }
}
