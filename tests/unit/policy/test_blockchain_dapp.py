"""What the steps of the blockchain application's playbooks run is what its runbook says to run."""

from __future__ import annotations

import pytest

from remediation.domain.plan import shown
from tocsin_policy import PlaybookStep, PrometheusCall
from tocsin_testkit.policies import shipped

POLICY = shipped("blockchain-dapp")

BACKEND = "deployment/blockchain-backend in eks/default"

COMMANDS = [
    # Phase 2, quick health checks, and the appendix
    ("quick-health-checks", "check-health", "curl https://api.yourdomain.com/health"),
    ("quick-health-checks", "nodes", "kubectl get nodes"),
    (
        "quick-health-checks",
        "logs",
        "kubectl logs -n default deployment/blockchain-backend --tail=100",
    ),
    (
        "quick-health-checks",
        "database-status",
        "aws rds describe-db-instances --db-instance-identifier prod-postgres",
    ),
    (
        "quick-health-checks",
        "connections",
        "postgres: SELECT count(*) FROM pg_stat_activity;",
    ),
    ("quick-health-checks", "redis-info", "redis: info"),
    ("quick-health-checks", "redis-size", "redis: database size"),
    (
        "quick-health-checks",
        "recent-deployments",
        "kubectl rollout history deployment/blockchain-backend",
    ),
    ("quick-health-checks", "recent-commits", "git log --oneline -10"),
    ("quick-health-checks", "infrastructure", "terraform -chdir=infra/env/prod show"),
    ("quick-health-checks", "more-logs", "kubectl logs deployment/blockchain-backend --tail=200"),
    ("quick-health-checks", "cloudwatch-logs", "aws logs tail /aws/eks/prod/application"),
    ("quick-health-checks", "latest-logs", "kubectl logs deployment/blockchain-backend --tail=50"),
    ("quick-health-checks", "resource-usage", "kubectl top pods -n default"),
    # Phase 3, the six options
    ("rollback-deployment", "rollback", f"rollout undo {BACKEND}"),
    ("scale-resources", "scale-pods", f"scale {BACKEND} replicas=10"),
    (
        "scale-resources",
        "scale-database",
        (
            "aws rds modify-db-instance --db-instance-identifier prod-postgres"
            " --db-instance-class db.r6g.2xlarge --apply-immediately"
        ),
    ),
    ("restart-services", "restart", f"rollout restart {BACKEND}"),
    ("restart-services", "restart-pod", "delete pod pod/${pod} in eks/default"),
    ("maintenance-mode", "maintenance-page", "kubectl apply -f k8s/maintenance-mode.yaml"),
    (
        "disable-feature",
        "feature-variable",
        "set env deployment/blockchain-backend FEATURE_X_ENABLED=false in eks/default",
    ),
    ("clear-cache", "clear-keys", "redis: delete matching pattern=${keys}*"),
    ("clear-cache", "flush", "redis: flush database"),
    # The five scenarios
    ("application-will-not-start", "describe-pod", "kubectl describe pod ${pod}"),
    ("application-will-not-start", "previous-logs", "kubectl logs ${pod} --previous"),
    ("database-connections", "connection-limit", "postgres: SHOW max_connections;"),
    (
        "database-connections",
        "long-queries",
        (
            "postgres: SELECT pid, now() - query_start as duration, query FROM pg_stat_activity"
            " WHERE state != 'idle' ORDER BY duration DESC;"
        ),
    ),
    (
        "database-connections",
        "larger-pool",
        "set env deployment/blockchain-backend DB_POOL_SIZE=50 in eks/default",
    ),
    (
        "database-connections",
        "more-connections",
        (
            "aws rds modify-db-parameter-group --db-parameter-group-name prod-postgres"
            " --parameters ParameterName=max_connections,ParameterValue=200,ApplyMethod=immediate"
        ),
    ),
    (
        "database-connections",
        "end-stuck-connections",
        (
            "postgres: SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE state = 'idle in transaction'; (writes)"
        ),
    ),
    ("high-resource-usage", "top-pods", "kubectl top pods"),
    ("high-resource-usage", "top-nodes", "kubectl top nodes"),
    ("high-resource-usage", "scale-pods", f"scale {BACKEND} replicas=10"),
    ("elevated-error-rate", "errors-in-logs", "kubectl logs deployment/blockchain-backend"),
    ("elevated-error-rate", "rollback", f"rollout undo {BACKEND}"),
    (
        "web-app-not-loading",
        "distribution",
        "aws cloudfront get-distribution --id ${distribution}",
    ),
    ("web-app-not-loading", "bucket", "aws s3 ls s3://${bucket}/"),
    ("web-app-not-loading", "direct-access", "GET web-bucket/index.html"),
    (
        "web-app-not-loading",
        "invalidate",
        "aws cloudfront create-invalidation --distribution-id ${distribution} --paths /*",
    ),
    ("web-app-not-loading", "build", "npm --prefix app run build"),
    ("web-app-not-loading", "deploy", "aws s3 sync app/dist/ s3://${bucket}/ --delete"),
]


def step_of(playbook: str, name: str) -> PlaybookStep:
    return next(step for step in POLICY.playbooks[playbook].steps if step.id == name)


@pytest.mark.parametrize(("playbook", "step", "call"), COMMANDS)
def test_a_step_runs_what_the_runbook_says(playbook: str, step: str, call: str) -> None:
    ((_, said),) = step_of(playbook, step).calls()

    assert shown(said) == call


def test_nothing_that_changes_something_runs_without_a_person() -> None:
    steps = [step for playbook in POLICY.playbooks.values() for step in playbook.steps]

    assert {step.risk for step in steps if step.approval == "automatic"} == {"read"}
    assert all(
        step.approval == "two" or step.id == "end-stuck-connections"
        for step in steps
        if step.risk == "destructive"
    )


def test_a_label_is_never_a_host_and_names_at_most_one_pod_distribution_or_bucket() -> None:
    parameters = {
        name: parameter
        for playbook in POLICY.playbooks.values()
        for step in playbook.steps
        for name, parameter in step.parameters.items()
    }

    assert sorted(parameters) == ["bucket", "distribution", "keys", "pod"]
    assert all(parameter.pattern for parameter in parameters.values())
    assert all("." not in (parameters[name].pattern or "") for name in parameters)


@pytest.mark.parametrize(
    ("step", "expect"),
    [
        ("verify-error-rate", "< 0.01"),
        ("verify-response-time", "< 0.2"),
        ("verify-no-alerts", "== 0"),
    ],
)
def test_healthy_is_what_the_runbook_calls_healthy(step: str, expect: str) -> None:
    ((_, call),) = step_of("rollback-deployment", step).calls()

    assert isinstance(call, PrometheusCall)
    assert call.expect == expect
