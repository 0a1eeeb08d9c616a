package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.nodes.GroupMember;

import java.util.List;
import java.util.Map;
import java.util.Set;

/** Processes that know of each other. */
public final class GroupMemberChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (GroupMember member =
                new GroupMember(stage.client, stage.path("group"), stage.id, stage.id.getBytes())) {
            member.start();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("a", "b", "c", "p"),
                    "members",
                    () -> member.getCurrentMembers().keySet());
            stage.say("holding");
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("b", "c", "p"),
                    "members after the kill",
                    () -> member.getCurrentMembers().keySet());
            stage.record("saw");
            stage.await("stop");
        }
    }

    @Check
    public void allSeeWhoIsThereAndWhoWasKilled() throws Exception {
        try (Contest contest = new Contest(GroupMemberChecks.class)) {
            GroupMember member =
                    new GroupMember(
                            contest.client, contest.path("group"), "p", "parent".getBytes());
            member.start();
            contest.go();
            contest.killHolder();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("b", "c", "p"),
                    "members after the kill",
                    () -> member.getCurrentMembers().keySet());
            Map<String, byte[]> members = member.getCurrentMembers();
            Expect.equal(
                    List.of("b", "c", "parent"),
                    List.of(
                            new String(members.get("b")),
                            new String(members.get("c")),
                            new String(members.get("p"))),
                    "data of the members");
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    2,
                    "members that saw it",
                    () -> contest.history.lines("saw").size());
            contest.tell("stop");
            contest.awaitOthers();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    Set.of("p"),
                    "members after the others left",
                    () -> member.getCurrentMembers().keySet());
            member.close();
        }
    }
}
