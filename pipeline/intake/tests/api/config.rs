//! Kubeconfigs: good, bad, and changing under way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use intake::Error;
use intake::api::{ApiOptions, ApiSource, Kind};

use crate::server::{Ask, Reply, SERVICES, Server, end_of_list, event};
use crate::{Reader, service, timing};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-intake-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn kubeconfig(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts:\n- name: here\n  context: {{cluster: c, user: u}}\n\
         clusters:\n- name: c\n  cluster: {{server: \"{server}\"{cluster}}}\n\
         users:\n- name: u\n  user: {{{user}}}\n"
    )
}

fn options(kubeconfig: PathBuf) -> ApiOptions {
    ApiOptions { kubeconfig: Some(kubeconfig), master: None, node_name: "node-0".into() }
}

async fn refused(options: ApiOptions) -> Error {
    match ApiSource::new(options.clone()).await {
        Ok(_) => panic!("the configuration was taken: {options:?}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_rotated_token_counts_at_once() {
    let folder = Folder::new();
    folder.write("token", "old");
    let server = Server::start().await;
    server.accept_only("Bearer old");
    // The path is relative to the kubeconfig.
    let config = folder.write("config", &kubeconfig(&server.url, "", "tokenFile: token"));
    server.say(
        SERVICES,
        Ask::StreamList,
        Reply::ended([event("ADDED", service("a", 9)), end_of_list(9)]),
    );
    let mut reader = Reader::with(options(config), timing()).await;
    reader.until_complete().await;
    assert!(reader.has("a"));

    folder.write("token", "new");
    server.accept_only("Bearer new");
    for _ in 0..40 {
        server.say(SERVICES, Ask::Watch, Reply::ended([event("ADDED", service("b", 10))]));
    }
    reader
        .until("requests with the new token", |_| {
            server.seen(SERVICES).last().is_some_and(|seen| seen.authorization == "Bearer new")
        })
        .await;
    reader.until("b", |reader| reader.has("b")).await;
    let refused = server.seen(SERVICES);
    let old = refused.iter().filter(|seen| seen.authorization == "Bearer old").count();
    assert!(old <= 4, "after one refusal the file is read anew: {refused:?}");
}

#[tokio::test]
async fn the_master_comes_before_the_kubeconfig() {
    let folder = Folder::new();
    let server = Server::start().await;
    let config = folder.write("config", &kubeconfig("http://192.0.2.9:1", "", "token: secret"));
    let options = ApiOptions { master: Some(server.url.clone()), ..options(config) };
    let mut reader = Reader::with(options, timing()).await;
    reader.until_complete().await;
    assert!(server.seen(SERVICES).iter().all(|seen| seen.authorization == "Bearer secret"));
}

#[tokio::test]
async fn a_bad_kubeconfig_is_refused_with_its_file_and_field() {
    let folder = Folder::new();
    let good = kubeconfig("https://127.0.0.1:1", "", "token: t");
    let not_a_certificate = "bm90IGEgY2VydGlmaWNhdGU=";
    let cases = [
        ("no-context", good.replace("current-context: here\n", ""), "current-context"),
        ("bad-context", good.replace("current-context: here", "current-context: there"), "there"),
        ("bad-cluster", good.replace("cluster: c,", "cluster: other,"), "clusters"),
        ("bad-yaml", "apiVersion: [".to_owned(), "YAML"),
        ("bad-server", kubeconfig("https://127.0.0.1:port", "", ""), "server"),
        (
            "missing-ca",
            kubeconfig("https://127.0.0.1:1", ", certificate-authority: /nonexistent/ca", ""),
            "/nonexistent/ca",
        ),
        (
            "bad-base64",
            kubeconfig("https://127.0.0.1:1", ", certificate-authority-data: \"%%\"", ""),
            "certificate-authority",
        ),
        (
            "broken-client-certificate",
            kubeconfig(
                "https://127.0.0.1:1",
                "",
                &format!(
                    "client-certificate-data: {not_a_certificate}, \
                     client-key-data: {not_a_certificate}"
                ),
            ),
            "PEM",
        ),
    ];
    for (name, text, expected) in cases {
        let path = folder.write(name, &text);
        let error = refused(options(path.clone())).await.to_string();
        assert!(error.contains(&path.display().to_string()), "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
    }
    let missing = folder.0.join("missing");
    let error = refused(options(missing.clone())).await.to_string();
    assert!(error.contains(&missing.display().to_string()), "{error}");
    assert!(error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_unreachable() {
    let folder = Folder::new();
    let server = Server::start().await;
    let url = server.url.replace("http://", "https://");
    let config = kubeconfig(&url, ", insecure-skip-tls-verify: true", "token: t");
    let mut reader = Reader::with(options(folder.write("config", &config)), timing()).await;
    reader.until("a failure", |reader| reader.failure(Kind::Service).is_some()).await;
    let failure = reader.failure(Kind::Service).unwrap();
    assert!(failure.contains(&format!("{url} cannot be reached")), "{failure}");
    assert!(failure.contains("tls"), "{failure}");
    assert_eq!(reader.deliveries, 0);
}

#[tokio::test]
async fn a_bad_master_is_refused() {
    for master in ["127.0.0.1:6443", "https://", "http://a b"] {
        let options =
            ApiOptions { kubeconfig: None, master: Some(master.into()), node_name: "n".into() };
        let error = refused(options).await;
        assert!(matches!(error, Error::Master { .. }), "{error}");
        assert!(error.to_string().contains(master), "{error}");
    }
}
