use super::*;

fn file() -> Arc<str> {
    "m.yaml".into()
}

fn yaml(text: &str) -> Found {
    read(&file(), Format::Yaml, text.as_bytes())
}

/// `kind/name@line` of every object, and every fault.
fn summary(found: &Found) -> Vec<String> {
    let objects = found.objects.iter().map(|object| {
        let name = object.value["metadata"]["name"].as_str().unwrap_or("-");
        format!("{} {}/{name} {}", object.api_version, object.kind, object.place)
    });
    let faults = found.faults.iter().map(|fault| format!("! {}: {}", fault.place, fault.message));
    objects.chain(faults).collect()
}

#[test]
fn documents_are_cut_at_markers_alone() {
    let cases: &[(&str, &[(usize, &str)])] = &[
        ("", &[]),
        ("\n# nothing\n---\n---\n# still\n...\n", &[]),
        ("a: 1\n", &[(1, "a: 1\n")]),
        ("---\na: 1\n---\nb: 2\n", &[(1, "---\na: 1\n"), (3, "---\nb: 2\n")]),
        ("a: 1\r\n---\r\nb: 2\r\n", &[(1, "a: 1\r\n"), (2, "---\r\nb: 2\r\n")]),
        ("# c\n--- # d\na: 1\n", &[(2, "--- # d\na: 1\n")]),
        ("--- {a: 1}\n--- {b: 2}", &[(1, "--- {a: 1}\n"), (2, "--- {b: 2}")]),
        ("a: 1\n...\nb: 2\n", &[(1, "a: 1\n"), (3, "b: 2\n")]),
        ("%YAML 1.2\n---\na: 1\n", &[(2, "---\na: 1\n")]),
        ("a: |\n  ---\n  x\n----\n", &[(1, "a: |\n  ---\n  x\n----\n")]),
    ];
    for (text, expected) in cases {
        let documents = split(text.as_bytes());
        let found: Vec<_> = documents
            .iter()
            .map(|document| (document.first_line, std::str::from_utf8(document.bytes).unwrap()))
            .collect();
        assert_eq!(found, *expected, "{text:?}");
        let numbers: Vec<_> = documents.iter().map(|document| document.number).collect();
        assert_eq!(numbers, (1..=documents.len()).collect::<Vec<_>>());
    }
}

#[test]
fn objects_lists_and_comments_are_read() {
    let found = yaml(
        "# head\n\
         apiVersion: v1\n\
         kind: Service\n\
         metadata: {name: a}\n\
         ---\n\
         # nothing here\n\
         ---\n\
         apiVersion: v1\n\
         kind: List\n\
         items:\n\
         - apiVersion: v1\n  \
           kind: Pod\n  \
           metadata: {name: b}\n\
         - apiVersion: apps/v1\n  \
           kind: Deployment\n  \
           metadata: {name: c}\n\
         ---\n\
         apiVersion: v1\n\
         kind: ServiceList\n\
         items:\n\
         - metadata:\n    \
             name: d\n\
         ---\n\
         apiVersion: v1\n\
         kind: PodList\n\
         items: null\n",
    );
    assert_eq!(
        summary(&found),
        [
            "v1 Service/a m.yaml:2",
            "v1 Pod/b m.yaml:11 (document 2)",
            "apps/v1 Deployment/c m.yaml:14 (document 2)",
            "v1 Service/d m.yaml:21 (document 3)",
        ]
    );
}

#[test]
fn a_broken_document_costs_only_itself_and_is_located() {
    const GOOD: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n";
    let cases = [
        (
            "kind: Service\n  port: 80\n",
            "m.yaml:6 (document 2): expected YAML, found \"port: 80\" (",
        ),
        ("kind: [Service\n", "m.yaml:"),
        (
            "kind: Pod\nkind: Service\n",
            "m.yaml:6 (document 2): expected each key once, found kind a second time in \"kind: Service\"",
        ),
        (
            "hello\n",
            "m.yaml:5 (document 2): expected an object with apiVersion and kind, found \"\\\"hello\\\"\"",
        ),
        (
            "- 1\n- 2\n",
            "m.yaml:5 (document 2): expected an object with apiVersion and kind, found \"[1,2]\"",
        ),
        (
            "# c\n\na: 1\n",
            "m.yaml:7 (document 2): expected the field kind with a text such as Service, found none",
        ),
        (
            "kind: 7\n",
            "m.yaml:5 (document 2): expected the field kind with a text such as Service, found \"7\"",
        ),
        (
            "kind: Service\n",
            "m.yaml:5 (document 2): expected the field apiVersion with a text such as v1, found none",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: 3\n",
            "m.yaml:5 (document 2): expected a list of objects in items, found 3",
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- 3\n",
            "m.yaml:8 (document 2): expected an object with apiVersion and kind, found \"3\"",
        ),
    ];
    for (broken, expected) in cases {
        let found = yaml(&format!("{GOOD}{broken}---\n{GOOD}"));
        let objects: Vec<_> = found.objects.iter().map(|object| object.place.document).collect();
        assert_eq!(objects, [1, 3], "{broken:?}: {found:?}");
        let [fault] = &found.faults[..] else { panic!("{broken:?}: {found:?}") };
        let text = format!("{}: {}", fault.place, fault.message);
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains('\n') && !text.contains(" at line "), "{text}");
    }
}

#[test]
fn text_that_is_no_utf_8_is_located() {
    let mut bytes =
        b"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\nkind: Pod\n".to_vec();
    bytes.extend(b"metadata: \xff\n");
    let found = read(&file(), Format::Yaml, &bytes);
    assert_eq!(
        summary(&found),
        [
            "v1 Service/a m.yaml:1",
            "! m.yaml:6 (document 2): expected UTF-8 text, found the byte 0xff"
        ]
    );
}

#[test]
fn json_is_read_and_located() {
    let json = |text: &str| summary(&read(&file(), Format::Json, text.as_bytes()));
    assert_eq!(
        json("{\"apiVersion\":\"v1\",\n\t\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"}}"),
        ["v1 Service/a m.yaml:1"]
    );
    assert_eq!(
        json(
            "\n{\"apiVersion\": \"v1\", \"kind\": \"PodList\", \"items\": [\n  {\"metadata\": \
             {\"name\": \"b\"}},\n  {\"metadata\": {\"name\": \"c\"}}\n]}\n\
             {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"d\"}}"
        ),
        ["v1 Pod/b m.yaml:3", "v1 Pod/c m.yaml:4", "v1 Service/d m.yaml:6 (document 2)"]
    );
    let [fault] = &json("{\n\"kind\": \"Service\",\n}")[..] else { panic!("one fault") };
    assert!(fault.starts_with("! m.yaml:3: expected JSON, found \"}\" ("), "{fault}");
    assert_eq!(json(""), Vec::<String>::new());
}

#[test]
fn a_list_of_a_big_cluster_is_read() {
    let mut text = String::from("apiVersion: v1\nkind: ServiceList\nitems:\n");
    for index in 0..20_000 {
        text.push_str(&format!(
            "- metadata:\n    name: s{index}\n    labels: {{a: b, c: d, e: f}}\n"
        ));
        text.push_str("  spec: {type: ClusterIP, ports: [{port: 80}]}\n");
    }
    let found = yaml(&text);
    assert_eq!(found.faults, []);
    assert_eq!(found.objects.len(), 20_000);
    assert_eq!(found.objects[1].place.line, 8);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = level - 1;
        let many = vec![format!("*a{before}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{many}]\n"));
    }
    let found = yaml(&text);
    assert_eq!((found.objects.len(), found.faults.len()), (0, 1));
}
