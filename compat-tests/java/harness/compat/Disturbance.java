package compat;

import java.time.Duration;

/** What happens to an ensemble while its clients go on. */
public enum Disturbance {
    LEADER_KILLED("the leader is killed and comes back") {
        @Override
        public void happen(Control control, Duration pause, Users users) throws Exception {
            String killed = control.serverOf("kill leader");
            users.workOn();
            control.say("start " + killed);
            users.workOn();
        }
    },

    LEADER_PAUSED("the leader is paused for longer than a session") {
        @Override
        public void happen(Control control, Duration pause, Users users) throws Exception {
            long until = System.nanoTime() + pause.toNanos();
            String paused = control.serverOf("pause leader");
            do {
                users.workOn();
            } while (System.nanoTime() < until);
            control.say("resume " + paused);
            users.workOn();
        }
    },

    SERVERS_ROLLED("all servers are restarted one by one") {
        @Override
        public void happen(Control control, Duration pause, Users users) throws Exception {
            control.say("roll");
            users.workOn();
        }
    },

    SERVER_WIPED("a server loses its data and rejoins") {
        @Override
        public void happen(Control control, Duration pause, Users users) throws Exception {
            String wiped = control.serverOf("wipe " + control.follower());
            users.workOn();
            control.say("start " + wiped);
            users.workOn();
        }
    };

    /** Those whom it happens to. */
    public interface Users {
        /** Returns when all of them have got on with their work; throws when they do not. */
        void workOn() throws Exception;
    }

    private final String words;

    Disturbance(String words) {
        this.words = words;
    }

    /** Returns when all servers run again. {@code pause} is how long a paused one stands still. */
    public abstract void happen(Control control, Duration pause, Users users) throws Exception;

    @Override
    public String toString() {
        return words;
    }
}
