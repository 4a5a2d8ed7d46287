import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import qupath.lib.common.ColorTools;
import qupath.lib.io.PathIO;
import qupath.lib.objects.PathCellObject;
import qupath.lib.objects.PathObject;
import qupath.lib.objects.classes.PathClass;
import qupath.lib.objects.hierarchy.PathObjectHierarchy;

/**
 * Reads a file of objects with QuPath's own classes, puts them into a hierarchy as its import does, says as JSON what QuPath then
 * holds, and has QuPath write them again. check.py compiles and runs it.
 *
 * Arguments: file to read, JSON to write, GeoJSON for QuPath to write.
 */
public final class ReadObjects {

    private ReadObjects() {}

    public static void main(String[] args) throws IOException {
        long began = System.nanoTime();
        List<PathObject> objects = PathIO.readObjects(Path.of(args[0]));
        double seconds = (System.nanoTime() - began) / 1e9;

        PathObjectHierarchy hierarchy = new PathObjectHierarchy();
        hierarchy.addObjects(objects);

        List<Map<String, Object>> said = new ArrayList<>();
        for (PathObject object : objects) {
            said.add(describe(object));
        }
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("seconds", seconds);
        all.put("java", System.getProperty("java.version"));
        all.put("in_hierarchy", hierarchy.getFlattenedObjectList(null).size() - 1);
        all.put("objects", said);
        try (Writer out = Files.newBufferedWriter(Path.of(args[1]))) {
            new GsonBuilder().serializeNulls().serializeSpecialFloatingPointValues().create().toJson(all, out);
        }
        PathIO.exportObjectsAsGeoJSON(
                Path.of(args[2]), objects, PathIO.GeoJsonExportOptions.FEATURE_COLLECTION);
    }

    private static Map<String, Object> describe(PathObject object) {
        Map<String, Object> one = new LinkedHashMap<>();
        one.put("id", object.getID().toString());
        one.put("kind", object.getClass().getSimpleName());
        one.put("name", object.getName());
        one.put("locked", object.isLocked());
        PathClass type = object.getPathClass();
        one.put("class", type == null ? null : type.toString());
        one.put("parts", type == null ? null : new ArrayList<>(type.toSet()));
        Integer colour = type == null ? null : type.getColor();
        one.put("colour", colour == null ? null : List.of(
                ColorTools.red(colour), ColorTools.green(colour), ColorTools.blue(colour)));
        one.put("roi", object.getROI().getRoiName());
        one.put("area", object.getROI().getArea());
        one.put("x", object.getROI().getCentroidX());
        one.put("y", object.getROI().getCentroidY());
        one.put("pieces", object.getROI().getGeometry().getNumGeometries());
        one.put("valid", object.getROI().getGeometry().isValid());
        one.put("nucleus", object instanceof PathCellObject cell && cell.getNucleusROI() != null);
        one.put("measurements", object.getMeasurements());
        return one;
    }
}
