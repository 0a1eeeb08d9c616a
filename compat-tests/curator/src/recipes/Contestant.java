package recipes;

/** What one of the competing processes does; its class is named on the process's command line. */
public interface Contestant {
    void compete(Stage stage) throws Exception;
}
