package recipes;

import compat.Check;
import compat.Expect;

import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.shared.VersionedValue;

import java.util.Arrays;

/** Bytes that all processes see and set: here a text to which each appends its letter. */
public final class SharedValueChecks implements Contestant {
    @Override
    public void compete(Stage stage) throws Exception {
        try (SharedValue value = new SharedValue(stage.client, stage.path("value"), new byte[0])) {
            value.start();
            for (int round = 0; round < Stage.ROUNDS; round++) {
                VersionedValue<byte[]> seen = value.getVersionedValue();
                while (!value.trySetValue(
                        seen, (new String(seen.getValue()) + stage.id).getBytes())) {
                    seen = value.getVersionedValue();
                }
                stage.holdIfVictim();
            }
        }
    }

    @Check
    public void noLetterIsLost() throws Exception {
        try (Contest contest = new Contest(SharedValueChecks.class);
                SharedValue value =
                        new SharedValue(contest.client, contest.path("value"), new byte[0])) {
            value.start();
            contest.go();
            contest.killHolder();
            contest.awaitOthers();
            Expect.becomes(
                    Arena.WAIT_MILLIS,
                    "aa" + "b".repeat(Stage.ROUNDS) + "c".repeat(Stage.ROUNDS),
                    "letters, sorted",
                    () -> {
                        char[] letters = new String(value.getValue()).toCharArray();
                        Arrays.sort(letters);
                        return new String(letters);
                    });
            Expect.equal(
                    value.getValue(),
                    contest.client.getData().forPath(contest.path("value")),
                    "value and node");
        }
    }
}
