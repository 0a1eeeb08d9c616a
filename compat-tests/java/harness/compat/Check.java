package compat;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** Marks a public method without arguments as one check; {@link Runner} finds and runs it. */
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface Check {
    /**
     * True for checks that mostly wait for the server's own timers: they start first and do not use
     * up a worker.
     */
    boolean waits() default false;

    /** After this many seconds the check counts as failed. */
    int limitSeconds() default 90;
}
