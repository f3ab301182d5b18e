#!/usr/bin/python3
"""Reeve's protocol spoken by a program of another house: `story.py --protocol DIR --house DIR --grpc HOST:PORT --http HOST:PORT --work DIR`.

The whole life of a suspension before a real controller, from a node without a certificate to a tenant that is let go: gRPC of stubs that
are generated from the protocol files, JSON by curl. Each step that went as it must is told on standard output, one a line; the first
that did not ends the program with what was found.
"""

import argparse
import pathlib
import time

import grpc

from agent import Agent, holder, is_pinned, request_of_a_new_key
from wire import PATIENCE, Events, House, Inbox, generate

NODE, TENANT = "n1", "alice"
ADDRESSES = ["203.0.113.7", "2001:db8::7"]
REASON = "25 hosts on port 22"


def told(step):
    """A step went as it must."""
    print(step, flush=True)


def refused(code, call, request, **how):
    """That a call is refused with a code; the words."""
    try:
        call(request, timeout=PATIENCE, **how)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}, not {code}"
        return error.details()
    raise AssertionError(f"the call was answered, and not {code}")


def enrol(house):
    """A node without a certificate comes to one; a channel with it."""
    from reeve.agent.v1 import enrolment_service_pb2 as enrolment
    from reeve.agent.v1 import enrolment_service_pb2_grpc as enrolling
    from reeve.operator.v1 import access_service_pb2 as access
    from reeve.operator.v1 import access_service_pb2_grpc as accessing

    admin = accessing.AccessServiceStub(house.person("root"))
    who = admin.WhoAmI(access.WhoAmIRequest(), timeout=PATIENCE)
    assert (who.name, who.role, who.shown) == ("root", access.ROLE_ADMIN, "certificate"), who
    token = admin.CreateEnrolmentToken(access.CreateEnrolmentTokenRequest(node=NODE), timeout=PATIENCE).token
    assert is_pinned(token, house.authority), "the token names another authority"

    key, request = request_of_a_new_key("whatever")
    stranger = enrolling.EnrolmentServiceStub(house.channel())
    refused(grpc.StatusCode.INVALID_ARGUMENT, stranger.Enroll, enrolment.EnrollRequest(token=token, certificate_request=b"x"))
    enrolled = stranger.Enroll(enrolment.EnrollRequest(token=token, certificate_request=request), timeout=PATIENCE)
    assert (enrolled.node, enrolled.authority.strip()) == (NODE, house.authority.decode().strip())
    names, days = holder(enrolled.certificate.encode())
    assert names == [f"reeve://node/{NODE}"] and days <= 365, (names, days)
    told("enrolled by a token and a certificate request")
    refused(grpc.StatusCode.UNAUTHENTICATED, stranger.Enroll, enrolment.EnrollRequest(token=token, certificate_request=request))
    told("a token is good once")
    return house.channel(enrolled.certificate.encode(), key)


def import_tenant(operator):
    """The inventory: one tenant, with addresses of both families and a port."""
    from reeve.operator.v1 import operator_service_pb2 as wire
    from reeve.types.v1 import tenant_pb2

    alice = tenant_pb2.Tenant(
        id=TENANT, name="Alice", addresses=["203.0.113.0/28", "2001:db8::/48"], interfaces=[f"{NODE}/tap0"]
    )
    method = wire.ImportTenantsRequest.METHOD_REPLACE
    done = operator.ImportTenants(wire.ImportTenantsRequest(tenants=[alice], method=method), timeout=PATIENCE)
    assert done.added == 1, done
    return alice


def violation():
    """What a detector of another house found."""
    from reeve.types.v1 import violation_pb2 as wire

    now = time.time_ns()
    found = wire.Violation(
        id="ELSEWHERE-0001", node=NODE, tenant=TENANT, rule="portscan", clause="house/portscan",
        state=wire.VIOLATION_STATE_OPEN, strike=1, alerts=1,
    )
    found.evidence.CopyFrom(wire.Alert(
        **{"class": "portscan.horizontal"}, tenant=TENANT, confidence_percent=95,
        metrics=[wire.Metric(name="hosts", value=30, threshold=25)],
        targets=[wire.TargetSeen(target=wire.Target(address=address, protocol="tcp", port=22),
                                 outcome=wire.OUTCOME_SILENT) for address in ["198.51.100.9", "2001:db8:f::9"]],
        loss=wire.Loss(received=1000, dropped=0),
    ))
    times = [found.open_time, found.last_seen_time, found.evidence.time, found.evidence.window_start_time,
             found.evidence.window_end_time]
    times += [moment for seen in found.evidence.targets for moment in (seen.first_time, seen.last_time)]
    for moment in times:
        moment.FromNanoseconds(now)
    return found


def compare(house, operator, state):
    """That gRPC and HTTP say the same by whatever the tenant is asked for, and that it is `state`."""
    from reeve.status.v1 import status_service_pb2 as wire
    from reeve.status.v1 import status_service_pb2_grpc as service

    status = service.StatusServiceStub(house.person("oncall"))
    subjects = [({"tenant": TENANT}, f"tenants/{TENANT}"), ({"interface": f"{NODE}/tap0"}, f"interfaces/{NODE}/tap0")]
    subjects += [({"address": address}, f"addresses/{address}") for address in ADDRESSES]
    for subject, path in subjects:
        answer = status.GetStatus(wire.GetStatusRequest(**subject), timeout=PATIENCE)
        name = wire.State.Name(answer.state).removeprefix("STATE_").lower()
        code, answered = house.get(f"/v1/status/{path}", person="oncall")
        over_grpc = (name, answer.tenant, answer.tenant_name, answer.reason or None, list(answer.nodes))
        over_http = tuple(answered[key] for key in ("state", "tenant", "name", "reason", "nodes"))
        assert code == 200 and over_grpc == over_http, (path, over_grpc, over_http)
        assert name == state, (path, name)


def suspend_and_release(house, operator, agent, watch, events, sequence):
    """An operator's orders go to the node and come back as what stands in its kernel; whoever watches sees it."""
    from reeve.agent.v1 import report_pb2
    from reeve.operator.v1 import operator_service_pb2 as wire
    from reeve.types.v1 import decision_pb2

    asked = operator.Suspend(wire.SuspendRequest(tenant=TENANT, reason=REASON, idempotency_key="k1"), timeout=PATIENCE)
    again = operator.Suspend(wire.SuspendRequest(tenant=TENANT, reason=REASON, idempotency_key="k1"), timeout=PATIENCE)
    assert (asked.order, asked.decision) == (again.order, again.decision), "asked twice by one key, ordered twice"
    order = agent.order("impose")
    decision = order.decision
    assert order.id == asked.order and decision.id == asked.decision, order
    assert (decision.tenant, decision.action, decision.reason) == (TENANT, decision_pb2.ACTION_SUSPEND, REASON)
    assert decision.scope.HasField("all") and decision.origin.operator.name == "oncall", decision
    compare(house, operator, "clear")
    told("what is ordered is not told before a kernel holds it")
    measure = decision_pb2.Measure(decision=decision)
    standing = report_pb2.Report.Standing(measure=measure)
    standing.time.FromNanoseconds(time.time_ns())
    agent.report(sequence, standing=standing)
    agent.did(order.id)
    watch.until("the measure", lambda event: event.HasField("measure_stands") and event.measure_stands.node == NODE)
    watch.until("the answer", lambda event: event.HasField("order_answered") and event.order_answered.order == order.id)
    events.until("the suspension over HTTP", lambda event: event[0] == "status" and event[1]["state"] == "suspended")
    compare(house, operator, "suspended")
    told("suspended: ordered, carried out, seen by gRPC and by curl")

    asked = operator.Release(wire.ReleaseRequest(tenant=TENANT, reason="mended"), timeout=PATIENCE)
    order = agent.order("release")
    assert (order.id, order.tenant, order.operator) == (asked.order, TENANT, "oncall"), order
    lifted = report_pb2.Report.Lifted(decision=decision.id, tenant=TENANT, reason=decision_pb2.LIFT_REASON_RELEASED)
    lifted.time.FromNanoseconds(time.time_ns())
    agent.report(sequence + 1, lifted=lifted)
    agent.did(order.id)
    watch.until("the end", lambda event: event.HasField("measure_lifted") and event.measure_lifted.decision == decision.id)
    events.until("the release over HTTP", lambda event: event[0] == "status" and event[1]["state"] == "clear")
    compare(house, operator, "clear")
    told("released: ordered, carried out, seen by gRPC and by curl")


def refusals(house, operator, node):
    """What nobody gets, over both ways in."""
    from reeve.agent.v1 import agent_service_pb2 as agents
    from reeve.agent.v1 import agent_service_pb2_grpc as streaming
    from reeve.operator.v1 import access_service_pb2 as access
    from reeve.operator.v1 import access_service_pb2_grpc as accessing
    from reeve.operator.v1 import operator_service_pb2 as wire
    from reeve.operator.v1 import operator_service_pb2_grpc as service
    from reeve.status.v1 import status_service_pb2 as status
    from reeve.status.v1 import status_service_pb2_grpc as asking

    suspend = wire.SuspendRequest(tenant=TENANT, reason=REASON)
    code = grpc.StatusCode
    for who, what in [("auditor", house.person("auditor")), ("node", node)]:
        words = refused(code.PERMISSION_DENIED, service.OperatorServiceStub(what).Suspend, suspend)
        assert "operator" in words, f"{who} is not told what it takes: {words}"
    refused(code.UNAUTHENTICATED, service.OperatorServiceStub(house.channel()).Suspend, suspend)
    refused(code.NOT_FOUND, operator.Suspend, wire.SuspendRequest(tenant="nobody", reason=REASON))
    refused(code.INVALID_ARGUMENT, operator.Suspend, wire.SuspendRequest(tenant=TENANT))
    nothing = node.unary_unary("/reeve.operator.v1.OperatorService/Nothing")
    refused(code.UNIMPLEMENTED, nothing, b"")
    other = iter([agents.ConnectRequest(hello=agents.Hello(
        node="n2", protocol_version=agents.ProtocolVersion(major=1, minor=6)))])
    refused(code.PERMISSION_DENIED, lambda said, timeout: list(streaming.AgentServiceStub(node).Connect(said, timeout=timeout)), other)
    told("wrong roles, strangers and unsound requests are refused, each by its own code")

    admin = accessing.AccessServiceStub(house.person("root"))
    made = access.CreateTokenRequest(name="portal", role=access.ROLE_STATUS)
    token = admin.CreateToken(made, timeout=PATIENCE).token
    show = {"metadata": [("authorization", f"Bearer {token}")]}
    stranger = house.channel()
    ask = status.GetStatusRequest(tenant=TENANT)
    answer = asking.StatusServiceStub(stranger).GetStatus(ask, timeout=PATIENCE, **show)
    assert answer.tenant == TENANT and not answer.nodes, answer
    refused(code.PERMISSION_DENIED, service.OperatorServiceStub(stranger).Suspend, suspend, **show)
    here, missing = f"/v1/status/tenants/{TENANT}", "/v1/status/tenants/nobody"
    assert house.get(here, token=token)[0] == 200
    assert house.get(here)[0] == 401
    assert house.get(missing, token=token)[0] == 404
    admin.RevokeToken(access.RevokeTokenRequest(name="portal"), timeout=PATIENCE)
    refused(code.UNAUTHENTICATED, asking.StatusServiceStub(house.channel()).GetStatus, ask, **show)
    assert house.get(here, token=token)[0] == 401
    told("a program's token lets it ask and nothing else, until it is revoked")


def play(house):
    """The story."""
    from reeve.operator.v1 import operator_service_pb2 as wire
    from reeve.operator.v1 import operator_service_pb2_grpc as service

    node = enrol(house)
    operator = service.OperatorServiceStub(house.person("oncall"))
    alice = import_tenant(operator)
    agent = Agent(node, NODE, epoch=7)
    assert agent.hear("welcome").acknowledged_sequence == 0
    tenants = agent.order("tenants").tenants
    assert list(tenants) == [alice], tenants
    told("connected as an agent, and told the tenants")

    watching = operator.Watch(wire.WatchRequest())
    # Headers come when the controller has begun to listen for this watcher.
    watching.initial_metadata()
    watch = Inbox(watching)
    events = Events(house.curl("/v1/status:watch", person="oncall"))
    try:
        events.until("the first state over HTTP", lambda event: event[0] == "synced")
        found = violation()
        agent.report(1, violation=found)
        watch.until("the violation", lambda event: event.violation_opened.id == found.id)
        listed = operator.ListViolations(wire.ListViolationsRequest(tenant=TENANT), timeout=PATIENCE).violations
        assert [one.id for one in listed] == [found.id], listed
        whole = operator.GetViolation(wire.GetViolationRequest(id=found.id), timeout=PATIENCE).violation
        assert whole == found, f"{whole} is not what was reported: {found}"
        told("a violation is reported, stored and read again as it was")
        suspend_and_release(house, operator, agent, watch, events, 2)
    finally:
        events.close()

    agent.hang_up()
    again = Agent(node, NODE, epoch=7)
    assert again.hear("welcome").acknowledged_sequence == 3
    # As after an acknowledgement that was lost.
    again.tell(1, violation=found)
    again.report(4, violation=found)
    listed = operator.ListViolations(wire.ListViolationsRequest(tenant=TENANT), timeout=PATIENCE).violations
    assert len(listed) == 1, listed
    told("after an interruption nothing is lost and nothing counted twice")
    refusals(house, operator, node)
    again.hang_up()


def main():
    """Reads the command line and plays."""
    reader = argparse.ArgumentParser(description="the independent client")
    for name in ["protocol", "house", "work"]:
        reader.add_argument(f"--{name}", type=pathlib.Path, required=True)
    for name in ["grpc", "http"]:
        reader.add_argument(f"--{name}", required=True)
    given = reader.parse_args()
    files = generate(given.protocol, given.work)
    assert len(files) >= 14, files
    play(House(given.house, given.grpc, given.http))


if __name__ == "__main__":
    main()
