package bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;

/** River's StandardScaler and LogisticRegression (SGD 0.01), begun from the rig's file. Not for several threads. */
final class Model {
    private static final double RATE = 0.01;

    private final double[] means;
    private final double[] vars;
    private final double[] weights;
    private double count;
    private double intercept;

    Model(String path) throws IOException {
        JsonNode given = new ObjectMapper().readTree(new File(path));
        count = given.get("count").asDouble();
        intercept = given.get("intercept").asDouble();
        means = array(given.get("means"));
        vars = array(given.get("vars"));
        weights = array(given.get("weights"));
    }

    private static double[] array(JsonNode values) {
        double[] found = new double[values.size()];
        for (int n = 0; n < found.length; n++) {
            found[n] = values.get(n).asDouble();
        }
        return found;
    }

    private double scaled(double[] x, int n) {
        return vars[n] > 0.0 ? (x[n] - means[n]) / Math.sqrt(vars[n]) : 0.0;
    }

    double predict(double[] x) {
        double logit = intercept;
        for (int n = 0; n < x.length; n++) {
            logit += weights[n] * scaled(x, n);
        }
        return 1.0 / (1.0 + Math.exp(-logit));
    }

    /** The scaler first (Welford), then one step of the classifier. */
    void learn(double[] x, boolean bought) {
        count++;
        for (int n = 0; n < x.length; n++) {
            double before = means[n];
            means[n] += (x[n] - before) / count;
            vars[n] += ((x[n] - before) * (x[n] - means[n]) - vars[n]) / count;
        }
        double gradient = predict(x) - (bought ? 1.0 : 0.0);
        intercept -= RATE * gradient;
        for (int n = 0; n < x.length; n++) {
            weights[n] -= RATE * gradient * scaled(x, n);
        }
    }
}
