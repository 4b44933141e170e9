use std::io;

use super::super::document::Format;
use super::*;

fn file(name: &str, services: &[&str]) -> (Arc<str>, FileContents) {
    let text: String = services
        .iter()
        .map(|name| format!("---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}}}\n"))
        .collect();
    let name = Arc::from(name);
    let contents = FileContents::new(&name, Format::Yaml, text.as_bytes());
    (name, contents)
}

fn broken(name: &str, services: &[&str]) -> (Arc<str>, FileContents) {
    let (name, mut contents) = file(name, services);
    let source = io::ErrorKind::PermissionDenied.into();
    contents.errors.push(Error::ManifestFile { file: name.clone(), source });
    (name, contents)
}

/// `file: services` after a read.
fn kept(known: &[(Arc<str>, FileContents)], now: Vec<(Arc<str>, FileContents)>) -> Vec<String> {
    let mut known: Files = known
        .iter()
        .map(|(name, contents)| {
            let manifests = contents.manifests.clone();
            (name.clone(), FileContents { manifests, ..Default::default() })
        })
        .collect();
    let mut files: Files = now.into_iter().collect();
    keep_of_broken(&mut files, &mut known);
    let lines = files.iter().map(|(name, contents)| {
        let services = contents.manifests.iter().map(|manifest| &*manifest.key.name.name);
        format!("{name}: {}", services.collect::<Vec<_>>().join(" "))
    });
    lines.collect()
}

#[test]
fn what_broken_files_gave_stays_unless_it_stands_elsewhere() {
    let known =
        [file("a.yaml", &["a1", "a2"]), file("sub/b.yaml", &["b"]), file("sub/c.yaml", &["c"])];
    let cases = [
        // Nothing is broken: what is gone is gone.
        (vec![file("a.yaml", &["a1"])], vec!["a.yaml: a1"]),
        // A file that cannot be read, wholly or in part.
        (vec![broken("a.yaml", &[])], vec!["a.yaml: a1 a2"]),
        (vec![broken("a.yaml", &["a2", "a3"])], vec!["a.yaml: a2 a3 a1"]),
        // A folder that cannot be listed.
        (
            vec![broken("sub", &[]), file("a.yaml", &["a1", "a2"])],
            vec!["a.yaml: a1 a2", "sub: ", "sub/b.yaml: b", "sub/c.yaml: c"],
        ),
        // It moved to another file before its own broke.
        (vec![broken("a.yaml", &[]), file("z.yaml", &["a1"])], vec!["a.yaml: a2", "z.yaml: a1"]),
        // A new file that is broken from the start.
        (vec![broken("new.yaml", &["new"])], vec!["new.yaml: new"]),
    ];
    for (now, expected) in cases {
        assert_eq!(kept(&known, now), expected);
    }
}

#[test]
fn our_own_reading_is_no_change() {
    use notify::event::{CreateKind, ModifyKind, RemoveKind};
    let close = |mode| EventKind::Access(AccessKind::Close(mode));
    assert!(!is_change(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
    assert!(!is_change(&close(AccessMode::Read)));
    assert!(is_change(&close(AccessMode::Write)));
    assert!(is_change(&EventKind::Create(CreateKind::File)));
    assert!(is_change(&EventKind::Modify(ModifyKind::Any)));
    assert!(is_change(&EventKind::Remove(RemoveKind::Folder)));
    // An overrun of the kernel's queue.
    assert!(is_change(&EventKind::Other));
}
